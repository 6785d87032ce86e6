// Exits 0 if node_modules holds what package-lock.json asks for, else 1. Runs on the machine's own, maybe old, Node.
const fs = require("node:fs");

try {
  const wanted = JSON.parse(fs.readFileSync("package-lock.json", "utf8")).packages;
  const installed = JSON.parse(fs.readFileSync("node_modules/.package-lock.json", "utf8")).packages;
  for (const [path, entry] of Object.entries(wanted)) {
    if (!path.startsWith("node_modules/") || entry.optional || entry.devOptional) continue;
    // Our own packages are links to their folders.
    if (entry.link) {
      if (!fs.existsSync(path)) process.exit(1);
      continue;
    }
    if (installed[path]?.version !== entry.version || !fs.existsSync(path)) process.exit(1);
  }
} catch {
  // An unreadable list means that the last install did not finish.
  process.exit(1);
}
