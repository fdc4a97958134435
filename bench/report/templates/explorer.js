// The explorer: any measure against any other, one panel per task, one curve per model. Everything
// that is chosen is part of the address; names from records are only ever shown as text.

(() => {
  const $ = (id) => document.getElementById(id);
  const { data, measures, models, tasks, state } = plots;
  const { titled, short, said, seedsOf, keyOf } = plots;
  const MOST_TASKS = 6;
  const NAMES = ["x", "y", "logx", "logy", "task", "model", "point"];

  // --- the state and its address

  function defaultTasks() {
    const lengths = (task) =>
      new Set(data.points.filter((p) => p.task === task && "score" in p).map((p) => p.T)).size;
    const swept = [...tasks.keys()].filter((task) => lengths(task) > 1);
    return (swept.length ? swept : [...tasks.keys()]).slice(0, MOST_TASKS);
  }

  function plainModels() {
    const plain = data.models.filter((model) => model.plain).map((model) => model.label);
    return plain.length ? plain : [...models.keys()];
  }

  function chosen(name, known, otherwise) {
    if (!address.has(name)) return otherwise;
    return address.all(name).filter((label) => known.has(label));
  }

  function restore() {
    const axis = (name, otherwise) =>
      measures.has(address.get(name)) ? address.get(name) : otherwise;
    state.x = axis("x", "T");
    state.y = axis("y", measures.has("score") ? "score" : data.measures.at(-1).name);
    for (const name of ["x", "y"]) {
      const said = address.get(`log${name}`);
      state[`log${name}`] = said === null ? measures.get(state[name]).log : said === "1";
    }
    state.task = new Set(chosen("task", tasks, defaultTasks()));
    state.model = new Set(chosen("model", models, plainModels()));
    state.point = address.get("point");
  }

  function same(chosenLabels, labels) {
    return chosenLabels.size === labels.length && labels.every((label) => chosenLabels.has(label));
  }

  // Only what differs from the page as it opens is in the address. None chosen is `NAME=-`.
  function remember() {
    address.set("x", state.x === "T" ? null : state.x);
    address.set("y", state.y === "score" ? null : state.y);
    for (const name of ["logx", "logy"]) {
      const usual = measures.get(state[name.slice(3)]).log;
      address.set(name, state[name] === usual ? null : state[name] ? "1" : "0");
    }
    const list = (labels, usual) => (same(labels, usual) ? null : labels.size ? [...labels] : "-");
    address.set("task", list(state.task, defaultTasks()));
    address.set("model", list(state.model, plainModels()));
    address.set("point", state.point);
  }

  function changed() {
    remember();
    draw();
  }

  // --- the controls

  function fillAxis(name) {
    const groups = Map.groupBy
      ? Map.groupBy(data.measures, (measure) => measure.group)
      : data.measures.reduce(
          (found, each) => found.set(each.group, [...(found.get(each.group) ?? []), each]),
          new Map(),
        );
    for (const [group, members] of groups) {
      const options = members.map((measure) => new Option(titled(measure), measure.name));
      $(name).append(element("optgroup", { label: group }, ...options));
    }
    $(name).addEventListener("change", () => {
      state[name] = $(name).value;
      state[`log${name}`] = measures.get(state[name]).log;
      changed();
    });
    $(`log${name}`).addEventListener("change", () => {
      state[`log${name}`] = $(`log${name}`).checked;
      changed();
    });
  }

  function fillTasks() {
    for (const task of tasks.keys()) {
      const box = element("input", { type: "checkbox", value: task });
      box.addEventListener("change", () => {
        if (box.checked) state.task.add(task);
        else state.task.delete(task);
        changed();
      });
      $("tasks").append(element("label", {}, box, ` ${task}`));
    }
  }

  function fillModels() {
    const rows = new Map();
    for (const model of models.values()) {
      const button = element("button", { type: "button", className: "model", value: model.label });
      button.title = "Hide or show this curve; with Shift, show it alone";
      button.append(plots.swatch(model), model.label);
      button.addEventListener("click", (event) => {
        if (event.shiftKey) state.model = new Set([model.label]);
        else if (state.model.has(model.label)) state.model.delete(model.label);
        else state.model.add(model.label);
        changed();
      });
      if (!rows.has(model.family)) {
        rows.set(model.family, element("div", { className: "family" }));
        rows.get(model.family).append(element("span", {}, model.family));
        $("models").append(rows.get(model.family));
      }
      rows.get(model.family).append(button);
    }
    $("all").addEventListener("click", () => {
      state.model = new Set(models.keys());
      changed();
    });
    $("plain").addEventListener("click", () => {
      state.model = new Set(plainModels());
      changed();
    });
    $("reset").addEventListener("click", () => {
      address.forget(NAMES);
      restore();
      draw();
    });
  }

  function showControls() {
    for (const name of ["x", "y"]) {
      $(name).value = state[name];
      $(`log${name}`).checked = state[`log${name}`];
    }
    for (const box of $("tasks").querySelectorAll("input")) box.checked = state.task.has(box.value);
    for (const button of $("models").querySelectorAll("button")) {
      button.ariaPressed = String(state.model.has(button.value));
    }
  }

  function draw() {
    showControls();
    const points = plots.shown();
    const spread = measures.get(state.y).spread;
    $("spread").textContent = spread ? `${spread}.` : "none.";
    $("status").textContent = points.length
      ? `Points: ${points.length}, tasks: ${new Set(points.map((point) => point.task)).size}.`
      : "No point has both of these measures for the chosen tasks and models.";
    $("key").hidden = !points.length;
    $("hollow").hidden = !points.some((point) => point.improving);
    $("levels").hidden = state.y !== "score";
    pointTable(points);
    behindPoint();
    return plots.drawPanels(points, select);
  }

  // --- tables: the points, and the runs behind one of them

  function cell(text, { value, number } = {}) {
    const made = element("td", { className: number ? "number" : "" }, text);
    if (value !== undefined) made.dataset.value = value;
    return made;
  }

  function headed(columns) {
    const head = element("tr");
    for (const [name, className] of columns) head.append(element("th", { className }, name));
    return element("table", {}, element("thead", {}, head), element("tbody"));
  }

  function pointTable(points) {
    const axes = [...new Set(["T", state.x, state.y])].filter((name) => name !== "T");
    const columns = [["task"], ["model"], ["T", "number"]];
    for (const name of axes) {
      columns.push([titled(measures.get(name)), "number"]);
      if (measures.get(name).spread) columns.push(["from", "number"], ["to", "number"]);
    }
    const table = headed([...columns, ["seeds", "number"], ["solved", "number"], ["", "action"]]);
    for (const point of points) {
      const row = element("tr", {}, cell(point.task), cell(point.model));
      const add = (value) => row.append(cell(short(value), { value: value ?? "", number: true }));
      add(point.T);
      for (const name of axes) {
        add(point[name]);
        if (measures.get(name).spread) [`${name}_low`, `${name}_high`].forEach((n) => add(point[n]));
      }
      add(point.seeds);
      add(point.solved);
      const button = element("button", { type: "button" }, "runs");
      button.ariaLabel = `Runs of ${point.model} on ${point.task}, T = ${point.T}`;
      button.addEventListener("click", () => select(keyOf(point)));
      row.append(element("td", { className: "action" }, button));
      table.tBodies[0].append(row);
    }
    $("points").replaceChildren(table);
    tables.enhance(table, "points");
  }

  function runsTable(point) {
    const columns = data.columns.filter((name) => name !== "command");
    const kept = columns.filter((name) =>
      point.runs.some((run) => data.runs[run][data.columns.indexOf(name)] !== null),
    );
    const numeric = (name) =>
      point.runs.some((run) => typeof data.runs[run][data.columns.indexOf(name)] === "number");
    const table = headed(kept.map((name) => [name, numeric(name) ? "number" : ""]));
    for (const run of point.runs) {
      const row = element("tr");
      for (const name of kept) {
        const value = data.runs[run][data.columns.indexOf(name)];
        const text = typeof value === "number" ? short(value) : String(value ?? "–");
        row.append(cell(text, { value: value ?? "", number: numeric(name) }));
      }
      table.tBodies[0].append(row);
    }
    return table;
  }

  function commandBlock(run) {
    const at = (name) => data.runs[run][data.columns.indexOf(name)];
    // The first such words are those of the options; a name that holds them comes later.
    const text = data.commands[at("command")]
      .replace("--again RUN", `--again ${at("id")}`)
      .replace("--seed RUN", `--seed ${at("seed")}`)
      .replace("--results RESULTS", () => `--results ${folder()}`);
    const copy = element("button", { type: "button" }, "copy");
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text);
      copy.textContent = "copied";
    });
    const code = element("pre", { className: "command" }, text);
    return element("div", {}, `Seed ${at("seed")} `, copy, code);
  }

  function aboutRates() {
    const link = element("a", { href: `#${data.rates}` }, "how each rate was chosen");
    link.addEventListener("click", (event) => {
      event.preventDefault(); // the address keeps the point
      $(data.rates).open = true;
      $(data.rates).scrollIntoView();
    });
    const text = "steps: updates made; max_steps: updates allowed; rate: the learning rate. See ";
    return element("p", { className: "note" }, text, link, ".");
  }

  function behindPoint() {
    const place = $("behind-point");
    const point = data.points.find((each) => keyOf(each) === state.point);
    place.hidden = !point;
    if (!point) return;
    const close = element("button", { type: "button" }, "close");
    close.addEventListener("click", () => select(null));
    const title = `${point.model} on ${point.task}, T = ${point.T}`;
    place.replaceChildren(element("h3", {}, title, " ", close));
    const known = data.measures.filter((measure) => point[measure.name] !== undefined);
    const list = element("dl", { className: "evidence" });
    for (const measure of known.filter(({ name }) => name !== "T")) {
      const value = said(point, measure.name) + (measure.unit ? ` ${measure.unit}` : "");
      list.append(
        element("div", {}, element("dt", {}, measure.title), element("dd", {}, value)),
      );
    }
    place.append(list, element("p", {}, `${seedsOf(point)}.`));
    if (data.left_out) {
      const text = `The page holds the first ${data.runs.length} runs; tables/runs.csv has all.`;
      place.append(element("p", { className: "note" }, text));
    }
    if (!point.runs.length) return;
    const table = runsTable(point);
    place.append(table);
    tables.enhance(table, "runs");
    if ($(data.rates)) place.append(aboutRates());
    const commands = element("details", {}, element("summary", {}, "Commands that make these runs"));
    commands.append(element("div", { className: "part" }, ...point.runs.map(commandBlock)));
    commands.open = true;
    place.append(commands);
  }

  function select(key) {
    state.point = key;
    remember();
    behindPoint();
    if (key !== null) {
      $("behind-point").scrollIntoView({ block: "nearest" });
      $("behind-point").focus({ preventScroll: true });
    }
  }

  // --- the start

  async function start() {
    if (!data.points.length) {
      $("status").textContent = "There is no run or timing to explore yet.";
      return;
    }
    const library = element("script");
    library.textContent = await inflated($("library").textContent);
    document.head.append(library);
    ["x", "y"].forEach(fillAxis);
    fillTasks();
    fillModels();
    $("controls").hidden = false;
    restore();
    address.onChange(() => {
      restore();
      draw();
    });
    await draw();
    document.documentElement.dataset.ready = "explorer";
  }

  matchMedia("print").addEventListener("change", () => {
    for (const plot of document.querySelectorAll(".plot")) Plotly.Plots.resize(plot);
  });
  // The first screen is drawn before the library is read.
  requestAnimationFrame(() => setTimeout(start));
})();
