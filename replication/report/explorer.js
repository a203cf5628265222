// The explorer of the report page: move the latents of four models and see what each decoder draws, at once.
//
// report.py puts this file into the page, explorer.py the models' weights; nothing is fetched. Three parts: weights from text, the
// decoder (the same arithmetic as models.py, in plain JavaScript), and the page. The tests run the first two under node, and all of
// it in a browser, and hold the pixels to PyTorch's: python -m pytest tests/replication/report tests/browser
"use strict";

const SIDE = 64; // images are 64 x 64
const RANGE = 2.5; // z from -2.5 to 2.5, as on the traversal sheets
const TESTS = 11; // test images at hand
const AT_HAND = 6; // latents; the less used ones are behind a fold
const PERIOD = 4000; // milliseconds that a playing latent takes there and back

// --- weights: base 85 of eight bits each, one array after the other ---

const LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%:()*+-;,=.?@^_`{|}~"; // Python's, with , . : for < > &

// Five letters are four bytes, the first of which weighs most.
function bytesOf(text) {
  const value = new Uint8Array(128), bytes = new DataView(new ArrayBuffer((text.length / 5) * 4));
  for (let i = 0; i < 85; i++) value[LETTERS.charCodeAt(i)] = i;
  for (let from = 0, to = 0; from < text.length; from += 5, to += 4) {
    let sum = 0;
    for (let i = from; i < from + 5; i++) sum = sum * 85 + value[text.charCodeAt(i)];
    bytes.setUint32(to, sum);
  }
  return bytes.buffer;
}

// `layout` lists {name, shape} in the order of the arrays. Of each there are its scales, one a row of its first axis, and its whole
// numbers of -127 to 127: {name: {shape, scales: Float32Array, whole: Int8Array}}.
function unpack(text, layout) {
  const bytes = bytesOf(text), arrays = {};
  let at = 0;
  const take = (length) => bytes.slice(at, (at += length));
  for (const { name, shape } of layout) {
    const scales = new Float32Array(take(4 * shape[0]));
    arrays[name] = { shape, scales, whole: new Int8Array(take(shape.reduce((a, b) => a * b, 1))) };
  }
  if (Math.ceil(at / 4) * 4 !== bytes.byteLength) throw new Error(`the weights are ${bytes.byteLength} bytes, their layout says ${at}`);
  return arrays;
}

// The weights themselves, in PyTorch's order.
function values({ shape, scales, whole }) {
  const row = whole.length / shape[0];
  return Float32Array.from(whole, (number, i) => number * scales[Math.floor(i / row)]);
}

// --- the decoder: all the time is spent in its sums of products ---

const tanh = (y) => { for (let i = 0; i < y.length; i++) y[i] = Math.tanh(y[i]); };
const relu = (y) => { for (let i = 0; i < y.length; i++) if (y[i] < 0) y[i] = 0; };
const sigmoid = (y) => { for (let i = 0; i < y.length; i++) y[i] = 1 / (1 + Math.exp(-y[i])); };
const clamp = (y) => { for (let i = 0; i < y.length; i++) y[i] = Math.min(1, Math.max(0, y[i])); };

const PAIR = 2 ** 26; // what the second weight of a pair counts
const WIDE = 16; // rows that are summed together, as eight pairs

// A linear layer: x (inputs) -> y (outputs); weight (outputs, inputs) as PyTorch keeps it.
//
// A number of JavaScript holds whole numbers of 53 bits, so that two weights fit into one, a + PAIR * b, and one product with a whole
// x adds to both of their rows' sums. For that x is rounded to as many steps as keep every sum of the first row below PAIR / 2, some
// hundreds for 1,200 inputs: less of an error than the weights' own. Twice as fast as one product a weight.
function linear(weight, bias, activation) {
  const [outputs, inputs] = weight.shape, blocks = Math.ceil(outputs / WIDE), start = values(bias);
  const pairs = new Float64Array((blocks * WIDE * inputs) / 2), sums = new Float64Array((blocks * WIDE) / 2);
  const rounded = new Float64Array(inputs), y = new Float32Array(outputs);
  let largest = 1; // sum of a row's numbers without their signs
  for (let row = 0; row < outputs; row++) {
    let sum = 0;
    for (let i = 0; i < inputs; i++) {
      const number = weight.whole[row * inputs + i], block = Math.floor(row / WIDE);
      pairs[(block * inputs + i) * 8 + ((row % WIDE) >> 1)] += row % 2 ? PAIR * number : number;
      sum += Math.abs(number);
    }
    largest = Math.max(largest, sum);
  }
  const steps = Math.floor(PAIR / 2 / largest) - 1;
  return (x) => {
    const step = x.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-9) / steps;
    for (let i = 0; i < inputs; i++) rounded[i] = Math.round(x[i] / step);
    for (let block = 0, k = 0; block < blocks; block++) {
      let s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
      for (let i = 0; i < inputs; i++, k += 8) {
        const v = rounded[i];
        s0 += pairs[k] * v; s1 += pairs[k + 1] * v; s2 += pairs[k + 2] * v; s3 += pairs[k + 3] * v;
        s4 += pairs[k + 4] * v; s5 += pairs[k + 5] * v; s6 += pairs[k + 6] * v; s7 += pairs[k + 7] * v;
      }
      sums.set([s0, s1, s2, s3, s4, s5, s6, s7], 8 * block);
    }
    for (let row = 0; row < outputs; row++) {
      const both = sums[row >> 1], second = Math.round(both / PAIR);
      y[row] = start[row] + weight.scales[row] * step * (row % 2 ? second : both - PAIR * second);
    }
    activation(y);
    return y;
  };
}

// y[to + r] += sum_i w[at + r * stride + i] * x[from + i] for `rows` rows, a multiple of 4, of `n` numbers; and the same for the
// neighbour x[from + n ...], whose sums go to y[to + apart ...]: each number of w is read once for both.
function multiplyPair(w, at, stride, rows, n, x, from, y, to, apart) {
  const end = from + n;
  for (let r = 0; r < rows; r += 4) {
    const b = stride, c = 2 * b, d = 3 * b;
    let s0 = 0, s1 = 0, s2 = 0, s3 = 0, t0 = 0, t1 = 0, t2 = 0, t3 = 0;
    for (let i = from, k = at + r * stride; i < end; i++, k++) {
      const u = x[i], v = x[i + n], w0 = w[k], w1 = w[k + b], w2 = w[k + c], w3 = w[k + d];
      s0 += w0 * u; s1 += w1 * u; s2 += w2 * u; s3 += w3 * u;
      t0 += w0 * v; t1 += w1 * v; t2 += w2 * v; t3 += w3 * v;
    }
    const p = to + r, q = p + apart; // one after the other: they may be the same cells
    y[p] += s0; y[p + 1] += s1; y[p + 2] += s2; y[p + 3] += s3;
    y[q] += t0; y[q + 1] += t1; y[q + 2] += t2; y[q + 3] += t3;
  }
}

// A transposed convolution of stride 2, kernel 4 x 4 with padding 1 or kernel 2 x 2 without: maps (side, side, I) -> (2 side, 2 side, O).
//
// Each cell of the input, I numbers, is multiplied by a matrix (size * size * O, I) and the products are added to the size x size cells
// of the output around it. Maps lie channel-last, so that a kernel row's products belong to neighbours in memory, and have a frame
// one cell wide, (side + 2, side + 2, channels), which takes what falls over the edge: nobody reads it.
function transposed(weight, bias, side, activation) {
  const [I, O, size] = weight.shape; // (I, O, size, size)
  if (![2, 4].includes(size) || (size * O) % 4) throw new Error(`no transposed convolution of shape ${weight.shape}`);
  const wide = 2 * side + 2, run = size * O, first = size === 4 ? 0 : 1; // of the frame's cells, the first that cell 0 adds to
  const y = new Float32Array(wide * wide * O), start = new Float32Array(wide * wide * O), matrix = new Float32Array(size * run * I);
  const biases = values(bias), weights = values(weight);
  for (let i = 0; i < start.length; i++) start[i] = biases[i % O];
  let at = 0;
  for (let row = 0; row < size; row++)
    for (let column = 0; column < size; column++)
      for (let o = 0; o < O; o++)
        for (let i = 0; i < I; i++) matrix[at++] = weights[((i * O + o) * size + row) * size + column];
  return (x) => {
    y.set(start);
    for (let a = 0; a < side; a++)
      for (let b = 0; b < side; b += 2) {
        const from = ((a + 1) * (side + 2) + b + 1) * I, to = ((2 * a + first) * wide + 2 * b + first) * O;
        for (let row = 0; row < size; row++) multiplyPair(matrix, row * run * I, I, run, I, x, from, y, to + row * wide * O, 2 * O);
      }
    activation(y);
    return y;
  };
}

// planes (channels, side, side), as PyTorch flattens them -> framed, channel-last
function toFramed(channels, side) {
  const y = new Float32Array((side + 2) * (side + 2) * channels);
  return (x) => {
    for (let c = 0, at = 0; c < channels; c++)
      for (let row = 1; row <= side; row++)
        for (let column = 1; column <= side; column++) y[(row * (side + 2) + column) * channels + c] = x[at++];
    return y;
  };
}

// framed, channel-last -> planes (channels, side, side)
function toPlanes(channels, side) {
  const y = new Float32Array(channels * side * side);
  return (x) => {
    for (let c = 0, at = 0; c < channels; c++)
      for (let row = 1; row <= side; row++)
        for (let column = 1; column <= side; column++) y[at++] = x[(row * (side + 2) + column) * channels + c];
    return y;
  };
}

// z (latents) -> pixels (channels * 64 * 64), 0 to 1. `arrays` are unpack's: "decoder.0.weight", "decoder.0.bias", ... of
// models.fc_vae (all linear, tanh) or models.conv_vae (linear, then transposed convolutions, relu); `output` is "sigmoid" (Bernoulli
// pixels) or "clamp" (Gaussian ones). The answer is overwritten by the next call.
function decoder(arrays, output) {
  const ends = { sigmoid, clamp };
  if (!ends[output]) throw new Error(`unknown output ${output}: sigmoid or clamp`);
  const weights = Object.keys(arrays).filter((name) => name.endsWith(".weight"));
  weights.sort((a, b) => a.split(".")[1] - b.split(".")[1]);
  const inner = weights.some((name) => arrays[name].shape.length === 4) ? relu : tanh, steps = [];
  let side = 0, width = 0; // side: of the maps, 0 before the first; width: numbers that the last layer put out
  for (const name of weights) {
    const weight = arrays[name], bias = arrays[name.replace(".weight", ".bias")];
    const activation = name === weights.at(-1) ? ends[output] : inner;
    if (weight.shape.length === 2) {
      steps.push(linear(weight, bias, activation));
      width = weight.shape[0];
    } else {
      if (!side) {
        side = Math.sqrt(width / weight.shape[0]);
        steps.push(toFramed(weight.shape[0], side));
      }
      steps.push(transposed(weight, bias, side, activation));
      side *= 2;
    }
  }
  if (side) steps.push(toPlanes(arrays[weights.at(-1)].shape[1], side));
  return (z) => steps.reduce((x, step) => step(x), Float32Array.from(z));
}

// --- the page ---

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// One explorer: the models of one data set. `facts` is what explorer.py wrote; the k-th slider moves the k-th most used latent of
// every model. A slider that was not touched since the last reset (null) leaves each model at its own mu(x) of the chosen image.
class Explorer {
  constructor(root) {
    this.facts = JSON.parse(root.querySelector("script.facts").textContent);
    this.models = this.facts.models.map((model, m) => ({ ...model, text: root.querySelector(`script.weights[data-model="${m}"]`) }));
    this.live = this.models.some((model) => model.text); // else all is pre-rendered: one latent at a time
    this.starts = Math.min(...this.models.map((model) => model.text ? TESTS : model.starts)); // test images that can be moved from
    this.latents = Math.max(...this.models.map((model) => model.rows.length));
    this.start = 0; // of the chosen test image
    this.values = Array(this.latents).fill(null); // z of the k-th most used latent; null: as inferred
    this.last = null; // the latent moved last; pre-rendered models show this one alone
    this.playing = null; // {latent, since}
    this.panels = this.facts.shown.map((m, p) => this.panel(m, p));
    this.sliders = this.values.map((_, k) => this.slider(k));
    root.append(this.images(), this.gallery(), this.buttons(), this.rows());
    this.panels.forEach((panel) => this.choose(panel, panel.index));
  }

  // What needs drawing is drawn once before the next frame, however many events came in between.
  refresh(...panels) {
    for (const panel of panels) panel.stale = true;
    this.frame ??= requestAnimationFrame((now) => {
      this.frame = null;
      this.tick(now);
      this.draw();
    });
  }

  draw() {
    const began = performance.now(), stale = this.panels.filter((panel) => panel.stale);
    for (const panel of stale) {
      panel.stale = false;
      if (panel.model.text) this.decode(panel);
      else this.paste(panel);
    }
    this.sliders.forEach((slider, k) => this.tell(slider, k));
    const decoded = stale.filter((panel) => panel.model.text).length;
    if (decoded) this.speed.textContent = `${decoded} decoded in ${(performance.now() - began).toFixed(1)} ms`;
  }

  // z in the decoder's own order; the k-th most used latent is latent rows[k].latent of the model.
  z(model) {
    const z = Float32Array.from(model.mu[this.start]);
    model.rows.forEach((row, k) => { if (this.values[k] !== null) z[row.latent] = this.values[k]; });
    return z;
  }

  decode(panel) {
    const { model } = panel, { data } = panel.image, plane = SIDE * SIDE;
    model.decode ??= decoder(unpack(model.text.textContent.trim(), model.layout), this.facts.output);
    panel.pixels = model.decode(this.z(model));
    const one = this.facts.channels === 1; // drawn as ink on paper, like the figures
    for (let i = 0; i < plane; i++)
      for (let c = 0; c < 3; c++) data[4 * i + c] = one ? 255 * (1 - panel.pixels[i]) : 255 * panel.pixels[c * plane + i]; // rounds
    panel.context.putImageData(panel.image, 0, 0);
  }

  // Without weights: the nearest frame. Row 0: test images reconstructed; then for each of `starts` of them, the first ones, a row a
  // latent, moved; of another image the first one's are shown. Where there is no such row (a sheet has ten), it is reconstructed.
  paste(panel) {
    const { model } = panel;
    if (!model.picture) {
      model.picture = element("img", { src: model.frames, alt: "" });
      model.picture.decode().then(() => this.refresh(...this.panels));
    }
    if (!model.picture.complete) return;
    const row = 1 + (this.start < model.starts ? this.start * model.rows.length : 0) + this.last;
    const moved = this.last !== null && this.last < model.rows.length && row < model.picture.height / SIDE;
    const column = moved ? Math.round(((this.values[this.last] + RANGE) / (2 * RANGE)) * (model.positions - 1)) : this.start;
    panel.context.drawImage(model.picture, column * SIDE, (moved ? row : 0) * SIDE, SIDE, SIDE, 0, 0, SIDE, SIDE);
  }

  // --- what a reader does ---

  move(k, value) {
    if (!this.live) {
      this.values.fill(null);
      if (this.start >= this.starts) this.radios[this.start = 0].checked = true;
    }
    this.values[k] = value;
    this.last = k;
    this.refresh(...this.panels.filter((panel) => !this.live || k < panel.model.rows.length));
  }

  reset() {
    this.play(null);
    this.values.fill(null);
    this.last = null;
    this.refresh(...this.panels);
  }

  random() {
    this.play(null);
    const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()); // of the prior
    this.values = this.values.map(() => Math.max(-RANGE, Math.min(RANGE, normal())));
    this.last = 0;
    this.refresh(...this.panels);
  }

  // Moves latent k back and forth from where it stands; null, or the one that plays already, stops.
  play(k) {
    this.playing = k === null || this.playing?.latent === k ? null : { latent: k };
    this.sliders.forEach(({ button }, i) => {
      button.setAttribute("aria-pressed", this.playing?.latent === i);
      button.textContent = this.playing?.latent === i ? "❚❚" : "▶";
    });
    if (this.playing) this.refresh();
  }

  tick(now) {
    if (!this.playing) return;
    const { latent } = this.playing, at = Math.asin((this.values[latent] ?? this.inferred(latent)) / RANGE || 0);
    this.playing.since ??= now - (PERIOD / (2 * Math.PI)) * at;
    this.move(latent, RANGE * Math.sin((2 * Math.PI * (now - this.playing.since)) / PERIOD));
  }

  choose(panel, m) {
    panel.index = m;
    panel.model = this.models[m];
    panel.about.textContent = panel.model.text ? `KL ${panel.model.kl.toFixed(1)} nats` : "pre-rendered";
    panel.canvas.setAttribute("aria-label", `What ${panel.model.label} draws`);
    this.note.hidden = !this.panels.some(({ model }) => model && !model.text);
    this.refresh(panel);
  }

  // Where an untouched slider stands: the first model's own value, in its range.
  inferred(k) {
    const model = this.panels[0].model, row = model.rows[k];
    return row && model.mu ? Math.max(-RANGE, Math.min(RANGE, model.mu[this.start][row.latent])) : 0;
  }

  // --- what a reader sees ---

  panel(m, p) {
    const canvas = element("canvas", { width: SIDE, height: SIDE, role: "img" });
    const panel = { index: m, canvas, context: canvas.getContext("2d"), about: element("small") };
    panel.image = panel.context.createImageData(SIDE, SIDE);
    panel.image.data.fill(255);
    const options = this.models.map((model, i) => element("option", { value: i, selected: i === m ? "" : null }, model.label));
    panel.select = element("select", { onchange: (event) => this.choose(panel, Number(event.target.value)) }, ...options);
    panel.place = `Model ${p + 1}`;
    return panel;
  }

  images() {
    const radios = Array.from({ length: TESTS }, (_, i) => {
      const attributes = { type: "radio", name: `start-${this.facts.id}`, value: i, checked: i ? null : "" };
      const input = element("input", { ...attributes, "aria-label": `Test image ${i + 1}`, onchange: () => {
        this.start = i;
        this.last = null; // pre-rendered models go back to their reconstruction of it
        if (!this.live) this.values.fill(null);
        this.refresh(...this.panels);
      } });
      const crop = element("span", { class: "crop" });
      crop.style.backgroundPosition = `${(100 * i) / (TESTS - 1)}% 0`; // as an attribute the page's policy would refuse it
      crop.style.backgroundImage = `url(${this.facts.tests})`;
      return element("label", {}, input, crop);
    });
    this.radios = radios.map((label) => label.firstChild);
    return element("fieldset", { class: "tests" }, element("legend", {}, this.facts.legend), ...radios);
  }

  gallery() {
    const figures = this.panels.map(({ canvas, select, about, place }) => {
      const choice = element("label", {}, element("span", { class: "place" }, place), select);
      return element("figure", {}, canvas, element("figcaption", {}, choice, about));
    });
    return element("div", { class: "gallery" }, ...figures);
  }

  buttons() {
    this.speed = element("span", { class: "speed" });
    this.note = element("p", { class: "note" }, "Pre-rendered: the weights of this model are not in the page. It shows frames drawn before the "
      + `page was made: the chosen image reconstructed or, once a slider is moved, ${this.starts < TESTS ? "the first test image" : "that image"} with that latent alone moved.`);
    return element("div", { class: "buttons" },
      element("button", { type: "button", class: "reset", onclick: () => this.reset() }, "Reset"),
      ...(this.live ? [element("button", { type: "button", class: "random", onclick: () => this.random() }, "Random")] : []),
      this.speed, this.note);
  }

  slider(k) {
    const title = `Latent ${k + 1}`, id = `latent-${this.facts.id}-${k}`;
    const slider = { value: element("span", { class: "value" }), cells: this.panels.map(() => element("li")) };
    slider.input = element("input", {
      type: "range", min: -RANGE, max: RANGE, step: this.live ? 0.05 : (2 * RANGE) / (Math.max(...this.models.map((model) => model.positions)) - 1), id, "aria-describedby": `${id}-use`,
      oninput: (event) => { this.play(null); this.move(k, Number(event.target.value)); },
    });
    slider.button = element("button", { type: "button", class: "play", "aria-pressed": "false", "aria-label": `Play latent ${k + 1}`, onclick: () => this.play(k) }, "▶");
    slider.row = element("div", { class: "latent" },
      element("div", { class: "control" }, slider.button, element("label", { for: id }, title), slider.input, slider.value),
      element("ul", { id: `${id}-use` }, ...slider.cells));
    return slider;
  }

  // The value of a slider, and what its latent is in each of the four models; the page is touched only where it changes.
  tell(slider, k) {
    const value = this.values[k], uses = this.panels.map(({ model }) => model.rows[k]?.use ?? "no such latent");
    const said = [value ?? this.inferred(k), value === null ? "as inferred" : value.toFixed(2), ...uses];
    if (slider.said?.every((word, i) => word === said[i])) return;
    slider.said = said;
    slider.input.value = said[0];
    slider.input.setAttribute("aria-valuetext", said[1]);
    slider.value.textContent = said[1];
    slider.cells.forEach((cell, p) => {
      cell.textContent = uses[p];
      cell.classList.toggle("off", /off$|^no/.test(uses[p]));
    });
  }

  rows() {
    const [first, rest] = [this.sliders.slice(0, AT_HAND), this.sliders.slice(AT_HAND)].map((some) => some.map((slider) => slider.row));
    const fold = rest.length ? [element("details", {}, element("summary", {}, `${rest.length} less used latents`), ...rest)] : [];
    return element("div", { class: "latents" }, ...first, ...fold);
  }
}

// A tab for each explorer in `group`, if there are several; each is set up when it is first seen.
function tabs(group) {
  const panels = [...group.querySelectorAll(".explorer")], show = (chosen) => panels.forEach((panel, i) => {
    panel.hidden = i !== chosen;
    buttons[i].setAttribute("aria-selected", i === chosen);
    buttons[i].tabIndex = i === chosen ? 0 : -1;
    if (i === chosen) panel.explorer ??= new Explorer(panel);
  });
  const buttons = panels.map((panel, i) => element("button", {
    type: "button", role: "tab", id: `tab-${panel.id}`, "aria-controls": panel.id, onclick: () => show(i),
    onkeydown: (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: panels.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const next = (to + panels.length) % panels.length;
      show(next);
      buttons[next].focus();
    },
  }, panel.dataset.title));
  if (panels.length > 1) {
    panels.forEach((panel) => { panel.setAttribute("role", "tabpanel"); panel.setAttribute("aria-labelledby", `tab-${panel.id}`); });
    group.prepend(element("div", { role: "tablist", "aria-label": "Data sets" }, ...buttons));
  }
  show(0);
}

if (typeof document !== "undefined") {
  document.querySelectorAll(".explorers:has(.explorer)").forEach(tabs);
  const look = new ResizeObserver((seen) => seen.forEach(({ target }) => target.classList.toggle("wider", target.scrollWidth > target.clientWidth)));
  document.querySelectorAll(".scroll, .card").forEach((frame) => look.observe(frame));
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((fold) => { fold.open = true; }));
} else {
  module.exports = { unpack, values, decoder };
}
