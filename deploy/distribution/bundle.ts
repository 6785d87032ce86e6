import { mkdirSync, writeFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { basename, join } from "node:path";
import { build, type Plugin, transform } from "esbuild";

const root = join(import.meta.dirname, "../..");

/** Names stay: traces of errors are read by people. */
const smaller = { minifyWhitespace: true, minifySyntax: true, target: "node24", platform: "node" } as const;

/**
 * Writes the program services/NAME/main.ts as lib/NAME.js, with files of their own for the parts that are loaded on demand, and
 * lib/run.cjs, which runs it. Bundled as ES modules, which esbuild splits, then each made a CommonJS module: only scripts
 * can have a code cache of what a process has called.
 */
export async function bundleProgram(name: string, lib: string): Promise<void> {
  const { outputFiles } = await build({
    ...smaller,
    entryPoints: [{ in: join(root, `services/${name}/main.ts`), out: name }],
    outdir: lib,
    write: false,
    bundle: true,
    splitting: true,
    format: "esm",
    plugins: [builtinsByName],
    legalComments: "linked",
    logLevel: "warning",
  });
  mkdirSync(lib, { recursive: true });
  for (const { path, text } of outputFiles) {
    const file = join(lib, basename(path));
    writeFileSync(file, path.endsWith(".js") ? await asScript(text) : text);
  }
}

export async function bundleLoader(lib: string): Promise<void> {
  await build({
    ...smaller,
    entryPoints: [join(root, "deploy/distribution/loader.ts")],
    // By its name CommonJS, whatever a package.json in the folders above says.
    outfile: join(lib, "run.cjs"),
    bundle: true,
    format: "cjs",
    logLevel: "warning",
  });
}

async function asScript(text: string): Promise<string> {
  const { code } = await transform(text.replace(/^#!.*/, ""), {
    ...smaller,
    format: "cjs",
    supported: { "dynamic-import": false },
    define: { "import.meta.url": "$url", "import.meta.dirname": "__dirname" },
    logLevel: "warning",
  });
  return `const $url = "file://" + __filename;${ascii(code)}`;
}

/**
 * esbuild escapes what is not ASCII, but not in regular expressions; one such character, and V8 keeps two bytes for each of the
 * whole file.
 */
function ascii(code: string): string {
  return code.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/**
 * Node's own modules by `process.getBuiltinModule`, not by import: to import one reads all that it exports, and
 * `http.WebSocket` alone loads a web client of 10 MB.
 */
const builtinsByName: Plugin = {
  name: "builtins-by-name",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^[a-z]/ }, ({ path, kind }) => {
      if (kind === "entry-point" || !isBuiltin(path)) return undefined;
      return { path: path.replace(/^node:/, ""), namespace: "builtin" };
    });
    onLoad({ filter: /^/, namespace: "builtin" }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(`node:${path}`)});`,
    }));
  },
};
