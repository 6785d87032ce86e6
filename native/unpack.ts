import { spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { nativeTool } from "./paths.ts";

/** What a layer turned out to be: compare both digests with the wanted ones before using the folder. */
export interface UnpackedLayer {
  /** `sha256:…` of the bytes as they came. */
  readonly digest: string;
  /** `sha256:…` of the uncompressed archive. */
  readonly diffId: string;
  readonly bytes: number;
  readonly entries: number;
  readonly contentBytes: number;
}

/**
 * Unpacks a layer from a stream into the empty `folder`, in a process of its own that is locked in before it reads the
 * first byte. Throws when the stream fails, the archive is damaged or larger than `maxBytes` uncompressed; then the
 * folder holds rubbish, the caller's to remove.
 */
export async function unpackLayer(
  source: Readable,
  options: { readonly folder: string; readonly maxBytes: number; readonly signal: AbortSignal },
): Promise<UnpackedLayer> {
  const child = spawn(nativeTool("starling-unpack"), ["-", options.folder, String(options.maxBytes)], {
    stdio: ["pipe", "pipe", "pipe"],
    env: {},
  });
  let out = "";
  let err = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    err += text;
  });
  const ended = new Promise<string>((resolve) => {
    child.on("error", (error) => resolve(`starling-unpack: ${error.message}`));
    child.on("close", (code, signal) => {
      if (code === 0) resolve("");
      else resolve(err.trim() || `starling-unpack: ended with ${signal ?? code}`);
    });
  });
  let streamFault: unknown;
  try {
    await pipeline(source, child.stdin, { signal: options.signal });
  } catch (error) {
    streamFault = error;
    child.kill("SIGKILL");
  }
  const fault = await ended;
  // The child that ends early breaks the pipe: its own words say why.
  const killedByUs = fault.endsWith("SIGKILL");
  if (streamFault !== undefined && (fault === "" || killedByUs)) throw streamFault;
  if (fault !== "") throw new Error(fault);
  return JSON.parse(out) as UnpackedLayer;
}
