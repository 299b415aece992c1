// Loaded before a node's program (`--expose-gc --import`): on SIGUSR2 V8 collects all garbage of the main thread and
// gives the memory back, so that what is measured after that is in use.
process.on("SIGUSR2", () => globalThis.gc?.({ type: "major", execution: "sync", flavor: "last-resort" }));
