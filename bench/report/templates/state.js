"use strict";
// The state of the page in its address: everything after “#”, as NAME=VALUE pairs. A name may
// occur several times. An address without “=” is the plain anchor of a section.

const address = (() => {
  const listeners = [];
  let pairs = new URLSearchParams();

  function read() {
    const text = location.hash.slice(1);
    pairs = new URLSearchParams(text.includes("=") ? text : "");
  }

  function write() {
    const text = pairs.toString();
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  }

  read();
  addEventListener("hashchange", () => {
    read();
    for (const listener of listeners) listener();
  });

  return {
    has: (name) => pairs.has(name),
    get: (name) => pairs.get(name),
    all: (name) => pairs.getAll(name),
    // Values of null and empty lists leave the address.
    set(name, value) {
      pairs.delete(name);
      for (const each of Array.isArray(value) ? value : [value]) {
        if (each !== null && each !== "") pairs.append(name, each);
      }
      write();
    },
    forget(names) {
      for (const name of names) pairs.delete(name);
      write();
    },
    onChange: (listener) => listeners.push(listener),
  };
})();

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

async function inflated(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

// The results folder, for a command. The folder of the page holds the records, if the page is read from a disk.
function folder() {
  if (location.protocol !== "file:") return "results";
  const path = decodeURIComponent(location.pathname).replace(/\/[^/]*$/, "") || "/";
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'"'"'`)}'`;
}
