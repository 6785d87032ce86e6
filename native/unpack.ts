import { spawn } from "node:child_process";
import type { Writable } from "node:stream";
import { nativeTool } from "./paths.ts";

/** What a layer turned out to be: compare both digests with the wanted ones before using the folder. */
export interface UnpackedLayer {
  /** `sha256:…` of the bytes as they came. */
  readonly digest: string;
  /** `sha256:…` of the uncompressed archive. */
  readonly diffId: string;
  /** Of the blob. */
  readonly bytes: number;
  readonly entries: number;
  readonly contentBytes: number;
  /** It looks the same whatever lies below it; otherwise unpack it again with its lower layers. */
  readonly standalone: boolean;
  /** Without lower layers: the first hard link whose target this layer does not have, or empty. It was left out. */
  readonly missingLink: string;
}

export interface UnpackOptions {
  /** Where to: an empty folder. */
  readonly folder: string;
  /** Holds the blob's beginning, perhaps all of it, or is made; it is read first, and what `feed` writes is appended to it. */
  readonly blob?: { readonly path: string; readonly size: number };
  /** Unpacked layers below this one, topmost first. */
  readonly lowers?: readonly string[];
  /** Bytes of the uncompressed archive, and of the files it makes, at most. */
  readonly contentMax: number;
  readonly entriesMax: number;
  readonly signal: AbortSignal;
}

/** Writes (the rest of) the blob to the process that unpacks it; honours back-pressure. Throws as its source does. */
export type Feed = (into: Writable, signal: AbortSignal) => Promise<void>;

/** The process could not take the layer: damaged, too large, or the disk said no. The message says which. */
export class UnpackError extends Error {
  override readonly name = "UnpackError";
}

/**
 * Unpacks a layer into an empty folder, in a process of its own that is locked in before it reads the first byte. Throws
 * UnpackError, or what `feed` threw; then the folder holds rubbish, the caller's to remove. `synced` resolves once all of
 * it would survive a power cut, and rejects when the disk failed; until then only this boot may use the folder.
 */
export async function unpackLayer(
  feed: Feed | undefined,
  options: UnpackOptions,
): Promise<{ readonly layer: UnpackedLayer; readonly synced: Promise<void> }> {
  const args = ["--folder", options.folder, "--content-max", `${options.contentMax}`];
  args.push("--entries-max", `${options.entriesMax}`);
  if (options.blob !== undefined) args.push("--blob", options.blob.path, "--size", `${options.blob.size}`);
  for (const lower of options.lowers ?? []) args.push("--lower", lower);
  const child = spawn(nativeTool("starling-unpack"), args, { stdio: ["pipe", "pipe", "pipe"], env: {} });
  const ended = new AbortController();
  let out = "";
  let err = "";
  const line = Promise.withResolvers<void>();
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
    if (out.includes("\n")) line.resolve();
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    err += text;
  });
  const fault = new Promise<UnpackError | undefined>((resolve) => {
    child.on("error", (error) => resolve(new UnpackError(`starling-unpack: ${error.message}`)));
    child.on("close", (code, signal) => {
      ended.abort();
      resolve(code === 0 ? undefined : new UnpackError(err.trim() || `starling-unpack ended with ${signal ?? code}`));
    });
  });
  const onAbort = () => child.kill("SIGKILL");
  options.signal.addEventListener("abort", onAbort, { once: true });
  void fault.finally(() => options.signal.removeEventListener("abort", onAbort));
  // A child that ended early breaks the pipe; its own words say why.
  child.stdin.on("error", () => ended.abort());
  if (options.signal.aborted) onAbort();
  let feedFault: { readonly thrown: unknown } | undefined;
  const fed = (async () => {
    try {
      await feed?.(child.stdin, AbortSignal.any([options.signal, ended.signal]));
      child.stdin.end();
    } catch (thrown) {
      if (!ended.signal.aborted) feedFault = { thrown };
      child.kill("SIGKILL");
    }
  })();
  await Promise.race([line.promise, fault]);
  if (!out.includes("\n")) {
    const unpackFault = await fault;
    await fed;
    options.signal.throwIfAborted();
    if (feedFault !== undefined) throw feedFault.thrown;
    throw unpackFault ?? new UnpackError("starling-unpack ended without a word");
  }
  const synced = fault.then((unpackFault) => {
    if (unpackFault !== undefined) throw unpackFault;
  });
  // Whoever does not ask must not crash for it.
  synced.catch(() => {});
  return { layer: JSON.parse(out) as UnpackedLayer, synced };
}
