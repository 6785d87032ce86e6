/**
 * Writes services/api/gen/messages.{js,d.ts} from the .proto files below this folder: static encoders and decoders over
 * protobufjs' Reader and Writer, in the shapes that ARCHITECTURE.md ("Messages") promises. Run: `node proto/generate.ts`.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { emitJavaScript } from "./emit-javascript.ts";
import { emitTypes } from "./emit-types.ts";
import { loadRoot } from "./load.ts";
import { buildModel } from "./model.ts";

const outDir = resolve(import.meta.dirname, "../services/api/gen");

const model = buildModel(loadRoot());
mkdirSync(outDir, { recursive: true });
writeIfChanged(join(outDir, "messages.js"), emitJavaScript(model));
writeIfChanged(join(outDir, "messages.d.ts"), emitTypes(model));

/** Keeps the file's time when nothing changed, so that what depends on it is not rebuilt. */
function writeIfChanged(path: string, text: string): void {
  let old = "";
  try {
    old = readFileSync(path, "utf8");
  } catch {
    // Not there yet.
  }
  if (old !== text) writeFileSync(path, text);
}
