import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * Path of a built executable of native/. Beside the running program when it is there (an installed swarmd), else in the
 * build folder of the sources, or in the folder that STARLING_NATIVE_TOOLS names: tests run instrumented ones.
 */
export function nativeTool(name: "starling-shim" | "starling-unpack" | "starling-run"): string {
  const installed = join(dirname(process.execPath), name);
  if (existsSync(installed)) return installed;
  const folder = process.env["STARLING_NATIVE_TOOLS"];
  return join(folder ?? join(dirname(fileURLToPath(import.meta.url)), "build", "Release"), name);
}
