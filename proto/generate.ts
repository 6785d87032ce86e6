/**
 * Writes services/api/gen/messages.{js,d.ts} from the .proto files below this folder: static encoders and decoders over
 * protobufjs' Reader and Writer, in the shapes that ARCHITECTURE.md ("Messages") promises. Run: `node proto/generate.ts`.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import protobuf from "protobufjs";
import { emitJavaScript } from "./emit-javascript.ts";
import { emitTypes } from "./emit-types.ts";
import { buildModel } from "./model.ts";

const protoDir = import.meta.dirname;
const outDir = resolve(protoDir, "../services/api/gen");
const packages = ["docker/swarmkit/v1", "raftpb", "starling/v1"];

const root = new protobuf.Root();
root.resolvePath = (_origin, target) =>
  target.startsWith("google/") ? join(dirname(protobufjsEntry()), target) : resolve(protoDir, target);
const files = packages.flatMap((dir) =>
  readdirSync(join(protoDir, dir))
    .filter((name) => name.endsWith(".proto"))
    .sort()
    .map((name) => join(protoDir, dir, name)),
);
root.loadSync(files, { keepCase: true });
root.resolveAll();

const model = buildModel(root);
mkdirSync(outDir, { recursive: true });
writeIfChanged(join(outDir, "messages.js"), emitJavaScript(model));
writeIfChanged(join(outDir, "messages.d.ts"), emitTypes(model));

function protobufjsEntry(): string {
  return new URL(import.meta.resolve("protobufjs")).pathname;
}

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
