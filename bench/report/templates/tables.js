// Tables that sort, filter and download as CSV. A cell sorts by `data-value` where it has one, which
// is also what the CSV file holds.

const tables = (() => {
  const known = new Set();

  function valueOf(cell) {
    return cell?.dataset.value ?? cell?.textContent.trim() ?? "";
  }

  // The number that a cell begins with: “≥ 150”, “1,024”, “5/5 seeds”.
  function numberOf(text) {
    const found = /^[<>≤≥=~ ]*(-?[\d,]*\.?\d+(?:e[+-]?\d+)?)/i.exec(text);
    return found ? Number(found[1].replaceAll(",", "")) : NaN;
  }

  function compared(a, b) {
    const [left, right] = [numberOf(a), numberOf(b)];
    if (!Number.isNaN(left) && !Number.isNaN(right) && left !== right) return left - right;
    return a.localeCompare(b, undefined, { numeric: true });
  }

  function isMissing(text) {
    return text === "" || text === "–";
  }

  function csvOf(table) {
    const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const rows = [...table.rows].filter((row) => !row.hidden);
    const line = (row) =>
      [...row.cells]
        .filter((cell) => !cell.classList.contains("action"))
        .map((cell) => quoted(isMissing(valueOf(cell)) ? "" : valueOf(cell)))
        .join(",");
    return `${rows.map(line).join("\n")}\n`;
  }

  function download(table, name) {
    const url = URL.createObjectURL(new Blob([csvOf(table)], { type: "text/csv" }));
    element("a", { href: url, download: `${name}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  function headers(table) {
    return [...table.tHead.rows[0].cells];
  }

  function sort(table, column, descending) {
    const body = table.tBodies[0];
    const sign = descending ? -1 : 1;
    const rows = [...body.rows].map((row) => [valueOf(row.cells[column]), row]);
    rows.sort(([a], [b]) => {
      if (isMissing(a) || isMissing(b)) return isMissing(a) - isMissing(b);
      return sign * compared(a, b);
    });
    body.append(...rows.map(([, row]) => row));
    headers(table).forEach((header, at) => {
      if (at === column) header.ariaSort = descending ? "descending" : "ascending";
      else header.removeAttribute("aria-sort");
    });
  }

  function filter(table, text, count) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) {
      const content = [...row.cells].map((cell) => cell.textContent.toLowerCase()).join("\t");
      row.hidden = !words.every((word) => content.includes(word));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    const noun = rows.length === 1 ? "row" : "rows";
    count.textContent = `${shown === rows.length ? "" : `${shown} of `}${rows.length} ${noun}`;
  }

  // Sorting and filtering are part of the address: `sort.NAME=COLUMN`, with a minus for descending.
  function applied(table, name, search, count) {
    const said = address.get(`sort.${name}`);
    if (said) {
      const column = headers(table).findIndex(
        (header) => header.textContent.trim() === said.replace(/^-/, ""),
      );
      if (column >= 0) sort(table, column, said.startsWith("-"));
    }
    search.value = address.get(`filter.${name}`) ?? "";
    filter(table, search.value, count);
  }

  function makeSortable(table, name) {
    headers(table).forEach((header, column) => {
      if (header.classList.contains("action")) return;
      const text = header.textContent.trim();
      const button = element("button", { type: "button", title: "Sort by this column" }, text);
      header.replaceChildren(button);
      header.scope = "col";
      button.addEventListener("click", () => {
        const descending = header.ariaSort === "ascending";
        sort(table, column, descending);
        address.set(`sort.${name}`, `${descending ? "-" : ""}${text}`);
      });
    });
  }

  // Adds the tools above a table; `name` is that of its CSV file and of its state in the address.
  function enhance(table, name) {
    const search = element("input", { type: "search", placeholder: "filter rows" });
    search.ariaLabel = `Filter the rows of ${name}`;
    const count = element("span");
    const save = element("button", { type: "button" }, "CSV");
    save.ariaLabel = `Download the rows shown of ${name} as CSV`;
    const tools = element("div", { className: "tools" }, search, save, count);
    const scroll = element("div", { className: "scroll", tabIndex: 0, role: "region" });
    scroll.ariaLabel = `Table ${name}`;
    (table.closest(".scroll") ?? table).replaceWith(tools, scroll);
    scroll.append(table);
    makeSortable(table, name);
    search.addEventListener("input", () => {
      filter(table, search.value, count);
      address.set(`filter.${name}`, search.value);
    });
    save.addEventListener("click", () => download(table, name));
    known.add(() => table.isConnected && applied(table, name, search, count));
    applied(table, name, search, count);
  }

  address.onChange(() => known.forEach((apply) => apply()));
  return { enhance };
})();
