import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { goArchitecture } from "./describe.ts";

type Files = Readonly<Record<string, string | Uint8Array>>;

/** A tar archive of these files and symbolic links, made by the host's tar. */
export function tarOf(files: Files, links: Readonly<Record<string, string>> = {}): Buffer {
  const root = mkdtempSync(join(tmpdir(), "starling-tar-"));
  try {
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(join(root, path, ".."), { recursive: true });
      writeFileSync(join(root, path), content);
    }
    for (const [path, target] of Object.entries(links)) {
      mkdirSync(join(root, path, ".."), { recursive: true });
      symlinkSync(target, join(root, path));
    }
    return execFileSync("tar", ["-C", root, "--mtime=@0", "-cf", "-", ...readdirSync(root)], { maxBuffer: 1 << 30 });
  } finally {
    rmSync(root, { recursive: true });
  }
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/**
 * An archive as older `docker save` wrote them: layers as folders, a layer that occurs before as a link, config and
 * manifest.json beside them. The lower layer is the same in all that are made without `lower`.
 */
export function dockerArchive(
  options: {
    readonly tags?: readonly string[];
    readonly architecture?: string;
    readonly lower?: Files;
    readonly upper?: Files;
    readonly labels?: Readonly<Record<string, string>>;
    /** Of the lower layer, as manifest.json has it. */
    readonly path?: string;
  } = {},
): Buffer {
  const lower = tarOf(options.lower ?? { "etc/name": "lower\n" });
  const upper = tarOf(options.upper ?? { "etc/other": "upper\n" });
  const config = JSON.stringify({
    architecture: options.architecture ?? goArchitecture(),
    os: "linux",
    created: "2024-05-06T07:08:09Z",
    config: { Cmd: ["sh"], Labels: options.labels ?? {} },
    rootfs: { type: "layers", diff_ids: [lower, upper].map((bytes) => `sha256:${sha256(bytes)}`) },
  });
  const name = `${sha256(Buffer.from(config))}.json`;
  const layers = [options.path ?? "ccc/layer.tar", "bbb/layer.tar"];
  const manifest = JSON.stringify([{ Config: name, RepoTags: options.tags ?? ["app:1"], Layers: layers }]);
  return tarOf(
    { [name]: config, "aaa/layer.tar": lower, "bbb/layer.tar": upper, "manifest.json": manifest },
    { "ccc/layer.tar": "../aaa/layer.tar" },
  );
}
