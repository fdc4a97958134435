// Curves, axes and words of the explorer: from points and the chosen state to what Plotly draws.

const plots = (() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const measures = new Map(data.measures.map((measure) => [measure.name, measure]));
  const models = new Map(data.models.map((model) => [model.label, model]));
  const tasks = new Map(data.tasks.map((task) => [task.label, task]));
  // What is chosen: `x`, `y`, `logx`, `logy`, the sets `task` and `model`, and `point`.
  const state = {};
  const MARKS = {
    circle: "M-4,0A4,4 0 1,0 4,0A4,4 0 1,0 -4,0Z",
    square: "M-3.6,-3.6H3.6V3.6H-3.6Z",
    diamond: "M0,-5L5,0L0,5L-5,0Z",
    "triangle-up": "M0,-4.6L4.6,3.6H-4.6Z",
    "triangle-down": "M0,4.6L4.6,-3.6H-4.6Z",
    "triangle-left": "M-4.6,0L3.6,-4.6V4.6Z",
    "triangle-right": "M4.6,0L-3.6,-4.6V4.6Z",
    cross: "M-1.6,-4.6H1.6V-1.6H4.6V1.6H1.6V4.6H-1.6V1.6H-4.6V-1.6H-1.6Z",
    x: "M-4,-2.2L-2.2,-4L0,-1.8L2.2,-4L4,-2.2L1.8,0L4,2.2L2.2,4L0,1.8L-2.2,4L-4,2.2L-1.8,0Z",
    star: "M0,-5L1.3,-1.7L4.8,-1.5L2,.7L3,4L0,2.1L-3,4L-2,.7L-4.8,-1.5L-1.3,-1.7Z",
  };

  function drawn(tag, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  function swatch(model) {
    const dash = { dash: "5,3", dot: "1.5,2.5", dashdot: "5,2,1.5,2" }[model.dash];
    const image = drawn("svg", { viewBox: "-13 -6 26 12", "aria-hidden": "true" });
    const line = { d: "M-12,0H12", stroke: model.color, "stroke-width": 2, fill: "none" };
    const dashes = dash ?? (model.dash === "solid" ? "none" : model.dash.replaceAll("px", ""));
    image.append(drawn("path", { ...line, "stroke-dasharray": dashes }));
    image.append(drawn("path", { d: MARKS[model.symbol] ?? MARKS.circle, fill: model.color }));
    return image;
  }

  // --- numbers and words

  function titled(measure) {
    return measure.unit ? `${measure.title} (${measure.unit})` : measure.title;
  }

  // The title of an axis in a panel: a score has the name and unit that its task gives it.
  function axisTitle(name, task) {
    const about = tasks.get(task);
    if (name !== "score" || !about.score_name) return titled(measures.get(name));
    return `test ${about.score_name.replaceAll("_", " ")} (${about.unit})`;
  }

  function short(value) {
    if (value === undefined || value === null) return "–";
    if (Math.abs(value) >= 1e6 || (value !== 0 && Math.abs(value) < 1e-3)) {
      return value.toExponential(2);
    }
    return value.toLocaleString("en", { maximumSignificantDigits: value >= 1000 ? 7 : 4 });
  }

  function said(point, name) {
    const [low, high] = [point[`${name}_low`], point[`${name}_high`]];
    const interval = low !== undefined && high !== undefined && low !== high;
    const value = short(point[name]);
    return interval ? `${value} (${short(low)} to ${short(high)})` : value;
  }

  function seedsOf(point) {
    if (!point.seeds) return "timed only, no runs";
    const solved = point.solved === undefined ? "" : `, ${point.solved} solve it`;
    const improving = point.improving ? `, ${point.improving} still improving` : "";
    return `${point.seeds} ${point.seeds === 1 ? "seed" : "seeds"}${solved}${improving}`;
  }

  function keyOf(point) {
    return [point.task, point.model, point.T, point.size ?? ""].join("|");
  }

  // Plotly reads some markup in its texts; an escaped text is shown as it is.
  function literal(text) {
    return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  }

  // A line ends at the first space after this many characters.
  function wrapped(text, least = 30) {
    return literal(text).replace(new RegExp(`(.{${least},48}?) `, "g"), "$1<br>");
  }

  // --- the points and the curves

  function shown() {
    return data.points.filter(
      (point) =>
        state.task.has(point.task) &&
        state.model.has(point.model) &&
        point[state.x] !== undefined &&
        point[state.y] !== undefined &&
        !(state.logx && point[state.x] <= 0) &&
        !(state.logy && point[state.y] <= 0),
    );
  }

  // One curve per model and size along T; against the parameters, one per model and T.
  function curves(points) {
    const found = new Map();
    const other = state.x === "parameters" ? "T" : "size";
    const along = state.x === "parameters" ? "parameters" : "T";
    for (const point of points) {
      const key = `${point.model}|${point[other]}`;
      found.set(key, [...(found.get(key) ?? []), point]);
    }
    const order = [...models.keys()];
    return [...found.values()]
      .map((curve) => curve.sort((a, b) => a[along] - b[along]))
      .sort(([a], [b]) => order.indexOf(a.model) - order.indexOf(b.model));
  }

  function errors(curve, name) {
    const gap = (end, sign) =>
      curve.map((point) => Math.max(sign * ((point[name + end] ?? point[name]) - point[name]), 0));
    return {
      type: "data", symmetric: false, array: gap("_high", 1), arrayminus: gap("_low", -1),
      thickness: 1, width: 3,
    };
  }

  // Whether two points lie at the same place, as far as the eye can tell.
  function alike(one, other) {
    return [state.x, state.y].every(
      (name) =>
        Math.abs(one[name] - other[name]) <=
        0.01 * Math.max(Math.abs(one[name]), Math.abs(other[name])),
    );
  }

  // The curves that have a point at the place of one of these points.
  function through(points, curves) {
    return curves.filter((curve) => curve.some((p) => points.some((other) => alike(p, other))));
  }

  // A curve that later ones cover is wider, so that it shows on both sides of them.
  function trace(curve, place, curves) {
    const model = models.get(curve[0].model);
    const above = Math.min(through(curve, curves.slice(place + 1)).length, 4);
    const others = curves.filter((other) => other !== curve);
    const symbols = curve.map((p) => (p.improving ? `${model.symbol}-open` : model.symbol));
    return {
      type: "scatter",
      mode: "lines+markers",
      name: literal(model.label),
      x: curve.map((point) => point[state.x]),
      y: curve.map((point) => point[state.y]),
      error_y: { ...errors(curve, state.y), color: model.color },
      line: { color: model.color, dash: model.dash, width: 2 + 1.2 * above },
      marker: {
        color: model.color, symbol: symbols, size: 8 + 1.5 * above, line: { color: model.color },
      },
      customdata: curve.map(keyOf),
      hoverinfo: "text",
      hovertext: curve.map((point) => hoverText(point, through([point], others))),
    };
  }

  function hoverText(point, others) {
    const lines = [`${point.model}, T = ${point.T}`];
    for (const name of new Set([state.y, state.x])) {
      if (name !== "T") lines.push(`${axisTitle(name, point.task)}: ${said(point, name)}`);
    }
    lines.push(seedsOf(point));
    const names = new Set(others.map(([other]) => other.model));
    if (names.size) lines.push(`also here: ${[...names].join(", ")}`);
    return lines.map((line) => wrapped(line)).join("<br>");
  }

  function levels(task) {
    const about = tasks.get(task);
    if (state.y !== "score") return [];
    return [["chance", "dash"], ["solved_at", "dot"]]
      .filter(([name]) => typeof about[name] === "number" && !(state.logy && about[name] <= 0))
      .map(([name, dash]) => ({
        type: "line", xref: "paper", x0: 0, x1: 1, y0: about[name], y1: about[name],
        layer: "below", line: { color: "#808890", width: 1.2, dash },
      }));
  }

  // The values themselves as ticks where they are few, without those that would overlap.
  function ticks(values) {
    const sorted = [...new Set(values)].sort((a, b) => a - b);
    if (sorted.length > 12 || sorted[0] <= 0) return { nticks: 6 };
    const least = Math.log(sorted.at(-1) / sorted[0]) / 11;
    const kept = [];
    for (const value of sorted) {
      if (!kept.length || Math.log(value / kept.at(-1)) >= least) kept.push(value);
    }
    return { tickmode: "array", tickvals: kept, ticktext: kept.map(short) };
  }

  function axis(name, title, points) {
    const log = state[`log${name}`];
    const found = { type: log ? "log" : "linear", title: { text: wrapped(title, 22), standoff: 8 } };
    if (state[name] === "T") Object.assign(found, ticks(points.map((point) => point.T)));
    else if (log) Object.assign(found, { nticks: 6, exponentformat: "SI", minexponent: 4 });
    const share = state[name] === "share" || (state[name] === "score" && title.includes("(share"));
    if (share && !log) found.range = [-0.04, 1.05];
    return { ...found, automargin: true, zeroline: false, tickfont: { size: 11 } };
  }

  function layout(task, points) {
    return {
      font: { family: "system-ui, sans-serif", size: 12 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 10, r: 12, t: 8, b: 10 },
      showlegend: false,
      hovermode: "closest",
      hoverlabel: { align: "left", font: { size: 12 } },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: axis("x", axisTitle(state.x, task), points),
      yaxis: axis("y", axisTitle(state.y, task), points),
      shapes: levels(task),
    };
  }

  const config = {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ["lasso2d", "select2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
  };

  function panelOf(task) {
    const found = [...$("panels").children].find((each) => each.dataset.task === task);
    if (found) return found;
    const panel = element("figure", { className: "panel" }, element("figcaption", {}, task));
    panel.dataset.task = task;
    panel.append(element("div", { className: "plot", role: "img" }));
    return panel;
  }

  // One panel per task that has points; `onClick` gets the key of a point.
  async function drawPanels(points, onClick) {
    const wanted = [...tasks.keys()].filter((task) => points.some((p) => p.task === task));
    for (const panel of [...$("panels").children]) {
      if (wanted.includes(panel.dataset.task)) continue;
      Plotly.purge(panel.querySelector(".plot"));
      panel.remove();
    }
    $("panels").append(...wanted.map(panelOf)); // all of them first, so that widths are final
    for (const task of wanted) {
      const plot = panelOf(task).querySelector(".plot");
      const isNew = !plot.data;
      const here = points.filter((point) => point.task === task);
      plot.ariaLabel =
        `${task}: ${axisTitle(state.y, task)} against ${axisTitle(state.x, task)}, ` +
        `${here.length} points; the table below has their values`;
      await Plotly.react(plot, curves(here).map(trace), layout(task, here), config);
      if (isNew) plot.on("plotly_click", (event) => onClick(event.points[0].customdata));
      else Plotly.Plots.resize(plot);
    }
  }

  return {
    ...{ data, measures, models, tasks, state },
    ...{ swatch, titled, short, said, seedsOf, keyOf, shown, drawPanels },
  };
})();
