import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { native } from "../sanitized.ts";

/** Sources that bounds.h is for. */
const bounded = ["clients", "streams"];

/** Builds a starling-shim without the bounds of bounds.h in `folder`, from the objects of the last build and those anew. */
export function buildUnboundedShim(folder: string): void {
  const release = join(native, "build/Release");
  const built = join(release, "obj.target/starling-shim/shim");
  const kept = readdirSync(built).filter((name) => name.endsWith(".o") && !bounded.includes(name.slice(0, -2)));
  const words = [
    ...["-std=c++20", "-fno-exceptions", "-fno-rtti", "-Os", "-static", "-DSTARLING_SHIM_WITHOUT_BOUNDS"],
    ...bounded.map((name) => join(native, "shim", `${name}.cc`)),
    ...kept.map((name) => join(built, name)),
    ...[join(release, "starling_runtime.a"), "-o", join(folder, "starling-shim")],
  ];
  mkdirSync(folder, { recursive: true });
  const compiled = spawnSync("g++", words, { encoding: "utf8" });
  if (compiled.status !== 0) throw new Error(`a shim without bounds cannot be built: ${compiled.stderr}`);
}
