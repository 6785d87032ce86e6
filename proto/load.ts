import { readdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import protobuf from "protobufjs";

const protoDir = import.meta.dirname;
const packages = ["docker/swarmkit/v1", "raftpb", "starling/v1"];

/** All .proto files below this folder, resolved. */
export function loadRoot(): protobuf.Root {
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
  return root;
}

function protobufjsEntry(): string {
  return new URL(import.meta.resolve("protobufjs")).pathname;
}
