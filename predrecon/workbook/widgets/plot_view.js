// Draws the plotly figures that the kernel sends, and tells it which points are clicked or selected.
// plotly.js itself comes from the kernel too, once a page: nothing is fetched, and no notebook
// carries its five megabytes.

const LIBRARY = "__predreconPlotly";
const CHOSEN = ["plotly_click", "plotly_selected"];

function library(model) {
  window[LIBRARY] ??= new Promise((resolve) => {
    const silent = setTimeout(() => { delete window[LIBRARY]; }, 20000); // a kernel that went away
    const heard = (message, buffers) => {
      if (message.kind !== "library") return;
      model.off("msg:custom", heard);
      clearTimeout(silent);
      const module = { exports: {} };
      const source = new TextDecoder().decode(buffers[0]);
      new Function("module", "exports", "define", source)(module, module.exports, undefined);
      resolve(module.exports);
    };
    model.on("msg:custom", heard);
    model.send({ kind: "library" });
  });
  return window[LIBRARY];
}

const json = (buffer) => JSON.parse(new TextDecoder().decode(buffer) || "[]");

// point numbers, which Python packs as int32
const unpack = ({ bdata }) => new Int32Array(
  Uint8Array.from(atob(bdata), (c) => c.charCodeAt(0)).buffer);

function initialize({ model }) {
  model.send({ kind: "hello" }); // says to the kernel that there is a front end
}

function render({ model, el }) {
  el.classList.add("predrecon-plot");
  const plot = el.appendChild(document.createElement("div"));
  plot.setAttribute("role", "img");
  let drawn = 0, texts = [];

  const busy = (yes) => {
    el.classList.toggle("predrecon-busy", yes);
    el.setAttribute("aria-busy", String(yes));
  };

  let heard = false;
  const draw = async (message, buffers) => {
    if (!heard) model.send({ kind: "heard" }); // the kernel gives up on a deaf view
    heard = true;
    if (message.kind === "busy") busy(true);
    if (message.kind === "idle") busy(false);
    if (message.kind !== "draw") return;
    const turn = ++drawn;
    if (buffers.length > 1) texts = json(buffers[1]);
    const plotly = await library(model);
    if (turn !== drawn) return; // a newer picture has come meanwhile
    const figure = json(buffers[0]);
    for (const trace of texts.length ? figure.data.filter((t) => t.customdata) : []) {
      trace.customdata = unpack(trace.customdata);
      trace.text = Array.from(trace.customdata, (number) => texts[number]);
    }
    plot.setAttribute("aria-label", message.label);
    // not the default of 2: without a graphics card, large maps take as long as they have pixels
    const config = { responsive: true, displaylogo: false, plotGlPixelRatio: devicePixelRatio };
    plot.style.height = `${figure.layout.height}px`; // or a full column would squeeze it
    await plotly.react(plot, figure.data, figure.layout, config);
    if (!plot.dataset.heard) {
      plot.dataset.heard = "yes";
      for (const event of CHOSEN) plot.on(event, (what) => tell(event, what));
      plot.on("plotly_deselect", () => tell("plotly_deselect", null));
    }
    busy(false);
    plot.dataset.drawn = message.number;
  };

  const tell = (event, what) => {
    if (event === "plotly_selected" && !what) return;
    const points = (what?.points ?? []).map((p) => p.customdata ?? p.pointNumber);
    if (event !== "plotly_click") mark(new Set(points), event === "plotly_deselect");
    model.send({ kind: "chosen", points, number: Number(plot.dataset.drawn) });
  };

  // what is selected in one panel stands out in the others too
  const mark = async (points, none) => {
    const named = plot.data.map((_, i) => i).filter((i) => plot.data[i].customdata);
    if (!named.length) return;
    const places = (i) => [...plot.data[i].customdata.keys()].filter(
      (k) => points.has(plot.data[i].customdata[k]));
    const plotly = await library(model);
    plotly.restyle(plot, { selectedpoints: named.map((i) => (none ? null : places(i))) }, named);
  };

  const resized = new ResizeObserver(() => {
    if (!plot.dataset.drawn) return;
    // what has left the page meanwhile has no size
    window[LIBRARY].then((plotly) => plot.isConnected && plotly.Plots.resize(plot));
  });
  resized.observe(el);
  model.on("msg:custom", draw);
  model.send({ kind: "view" });
  return () => {
    model.off("msg:custom", draw);
    resized.disconnect();
  };
}

export default { initialize, render };
