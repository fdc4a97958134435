// The form "Choose a model": every answer was computed when the page was written, by the rules of
// `python -m bench choose`. What is entered is part of the address.

(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("choices").textContent);
  const USUAL_LENGTH = 100;
  const NOTHING = "no evidence here";
  const BUDGETS = [
    ["step", data.latencies, (most) => `at most ${most} µs`],
    ["state", data.states, (most) => `at most ${most.toLocaleString("en")} bytes`],
    ["minutes", data.minutes, (most) => `at most ${most} min`],
  ];
  const kinds = new Map(data.kinds.map((kind) => [kind.name, kind]));
  const usual = (data.kinds.find((kind) => kind.ranges.length > 1) ?? data.kinds[0]).name;

  function rangeOf(kind, length) {
    const { ranges } = kinds.get(kind);
    return ranges.find(({ to }) => length <= to) ?? ranges.at(-1);
  }

  // The length with which the form opens has evidence, if any length of the kind has.
  function openingLength(kind) {
    const isKnown = ({ answers }) => data.answers[answers[0]][2] !== NOTHING;
    const last = kinds.get(kind).ranges.filter(isKnown).at(-1);
    return !last || isKnown(rangeOf(kind, USUAL_LENGTH)) ? USUAL_LENGTH : last.to;
  }

  const opening = openingLength(usual);

  function answerTo(kind, length) {
    const range = rangeOf(kind, length);
    let place = 0;
    for (const [name, levels] of BUDGETS) {
      place = place * (levels.length + 1) + $(`most-${name}`).selectedIndex;
    }
    return data.answers[range.answers[place]];
  }

  function evidenceTable(rows) {
    const names = data.header.map((name) => element("th", { scope: "col" }, name));
    const head = element("thead", {}, element("tr", {}, ...names));
    const body = element("tbody");
    for (const row of rows) {
      const cells = data.rows[row].map((text) => element("td", {}, text));
      cells.forEach((cell, at) => (cell.dataset.name = data.header[at]));
      body.append(element("tr", {}, ...cells));
    }
    const table = element("table", { className: "cards" }, head, body);
    return element("div", { className: "scroll" }, table);
  }

  function show() {
    const length = Math.max(1, Math.round(Number($("length").value)) || opening);
    const answer = answerTo($("kind").value, length);
    const [pick, other, sure, why, tested, rows, further, commands] = answer;
    const fact = (name, value) =>
      element("div", {}, element("dt", {}, name), element("dd", {}, value));
    const facts = [
      fact("pick", pick ?? "no model"),
      fact("runner-up", other ?? "no other model"),
      fact("how sure", sure),
    ];
    const shown = [element("dl", { className: "evidence" }, ...facts)];
    shown.push(element("ul", {}, ...why.map((reason) => element("li", {}, reason))));
    if (rows.length) {
      const left = further ? `Further rows, not shown: ${further}. ` : "";
      shown.push(element("p", { className: "note" }, tested), evidenceTable(rows));
      shown.push(element("p", { className: "note" }, left + data.times));
    }
    if (commands.length) {
      const title = "Commands that produce the missing evidence";
      const steps = commands.map(([said, command]) => {
        const text = command
          .replace("--results RESULTS", () => `--results ${folder()}`)
          .replace("--length LENGTH", `--length ${length}`);
        return element("div", {}, said, element("pre", { className: "command" }, text));
      });
      const summary = element("summary", {}, `${title} (${commands.length})`);
      shown.push(element("details", {}, summary, element("div", { className: "part" }, ...steps)));
    }
    $("chosen").replaceChildren(...shown);
  }

  function remember() {
    const length = $("length").value;
    address.set("kind", $("kind").value === usual ? null : $("kind").value);
    address.set("length", length === String(opening) ? null : length);
    for (const [name] of BUDGETS) address.set(name, $(`most-${name}`).value);
    show();
  }

  function restore() {
    $("kind").value = kinds.has(address.get("kind")) ? address.get("kind") : usual;
    $("length").value = address.get("length") ?? opening;
    for (const [name, levels] of BUDGETS) {
      $(`most-${name}`).selectedIndex = 1 + levels.indexOf(Number(address.get(name)));
    }
    show();
  }

  $("kind").append(...data.kinds.map(({ name, text }) => new Option(`${name}: ${text}`, name)));
  for (const [name, levels, said] of BUDGETS) {
    const options = levels.map((most) => new Option(said(most), most));
    $(`most-${name}`).append(new Option("any", ""), ...options);
  }
  for (const control of $("problem").querySelectorAll("select, input")) {
    control.addEventListener("input", remember);
  }
  address.onChange(restore);
  restore();
  $("chooser").hidden = $("to-chooser").hidden = false;
})();
