/** Pure: no clock, no I/O, no randomness. */

/** A piece of content named by its digest. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

export interface Platform {
  readonly os: string;
  /** Go's words: `amd64`, `arm64`. */
  readonly architecture: string;
  /** `v7` of arm, `v2` of amd64; empty or absent: the architecture's plainest. */
  readonly variant?: string;
}

export type Manifest =
  | { readonly kind: "image"; readonly config: Descriptor; readonly layers: readonly Descriptor[] }
  | { readonly kind: "index"; readonly manifests: readonly (Descriptor & { readonly platform?: Platform })[] };

/** What the image's author set as defaults of its containers (OCI image config `config`). */
export interface ImageConfig {
  readonly user: string;
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly workingDir: string;
  readonly stopSignal: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Paths that want volumes of their own. */
  readonly volumes: readonly string[];
  /** Docker's extension; durations in nanoseconds. */
  readonly healthcheck?: {
    readonly test: readonly string[];
    readonly intervalNs: number;
    readonly timeoutNs: number;
    readonly startPeriodNs: number;
    readonly retries: number;
  };
  /** Digests of the uncompressed layers, lowest first. */
  readonly diffIds: readonly string[];
}

/** Bytes from a registry that are not what they should be. */
export class BadImageError extends Error {
  override readonly name = "BadImageError";
}

export const manifestTypes = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
] as const;

const digestPattern = /^sha256:[0-9a-f]{64}$/;
/** Layers that overlayfs takes at once; the kernel's own limit is 500. */
const layersMax = 128;
const indexEntriesMax = 1_000;

/** Image manifest or index, Docker's or OCI's. Throws BadImageError for anything else. */
export function parseManifest(text: string): Manifest {
  const value = asObject(parseJson(text, "manifest"), "manifest");
  if (Array.isArray(value["manifests"])) {
    const entries = value["manifests"];
    if (entries.length > indexEntriesMax) {
      throw new BadImageError(`index: ${entries.length} manifests, at most ${indexEntriesMax}`);
    }
    return {
      kind: "index",
      manifests: entries.map((item, i) => {
        const entry = asObject(item, `manifests[${i}]`);
        const descriptor = parseDescriptor(entry, `manifests[${i}]`);
        if (typeof entry["platform"] !== "object" || entry["platform"] === null) return descriptor;
        const platform = entry["platform"] as Record<string, unknown>;
        return {
          ...descriptor,
          platform: {
            os: stringOf(platform["os"]),
            architecture: stringOf(platform["architecture"]),
            variant: stringOf(platform["variant"]),
          },
        };
      }),
    };
  }
  if (!Array.isArray(value["layers"])) throw new BadImageError("manifest: neither an image nor an index (schema 1?)");
  const layers = value["layers"].map((layer, i) => parseDescriptor(layer, `layers[${i}]`));
  if (layers.length > layersMax) throw new BadImageError(`manifest: ${layers.length} layers, at most ${layersMax}`);
  return { kind: "image", config: parseDescriptor(value["config"], "config"), layers };
}

/**
 * The manifest of an index that suits `platform` best: same system and architecture, and the highest variant that is not above
 * the platform's; undefined when it has none. Of equals the first.
 */
export function choosePlatform(
  manifests: readonly (Descriptor & { readonly platform?: Platform })[],
  platform: Platform,
): Descriptor | undefined {
  const own = variantLevel(platform);
  let best: { readonly manifest: Descriptor; readonly level: number } | undefined;
  for (const manifest of manifests) {
    if (manifest.platform?.os !== platform.os) continue;
    if (goArchitectureOf(manifest.platform.architecture) !== goArchitectureOf(platform.architecture)) continue;
    const level = variantLevel(manifest.platform);
    if (level <= own && (best === undefined || level > best.level)) best = { manifest, level };
  }
  return best?.manifest;
}

/** Platforms of an index, for an error's words. */
export function platformNames(manifests: readonly { readonly platform?: Platform }[]): string {
  const names = manifests.flatMap(({ platform }) => {
    if (platform === undefined || platform.os === "unknown") return [];
    return [[platform.os, platform.architecture, platform.variant].filter(Boolean).join("/")];
  });
  return [...new Set(names)].join(", ") || "none";
}

/** Some tools write the kernel's words. */
function goArchitectureOf(architecture: string): string {
  return { x86_64: "amd64", "x86-64": "amd64", aarch64: "arm64" }[architecture] ?? architecture;
}

/** The number in `v7`; without a variant what the architecture is at least (as containerd counts: arm is v7, arm64 v8). */
function variantLevel(platform: Platform): number {
  const plain = { arm: 7, arm64: 8, aarch64: 8 }[platform.architecture] ?? 1;
  const match = /^v?(\d{1,3})/.exec(platform.variant ?? "");
  return match === null ? plain : Number(match[1]);
}

/** The image's config blob. Absent members get their neutral values. */
export function parseImageConfig(text: string): ImageConfig {
  const value = asObject(parseJson(text, "image config"), "image config");
  const config = value["config"] === null || value["config"] === undefined ? {} : asObject(value["config"], "config");
  const rootfs = asObject(value["rootfs"], "rootfs");
  const diffIds = stringList(rootfs["diff_ids"], "rootfs.diff_ids");
  const bad = diffIds.find((id) => !digestPattern.test(id));
  if (diffIds.length > layersMax)
    throw new BadImageError(`image config: ${diffIds.length} layers, at most ${layersMax}`);
  if (bad !== undefined) throw new BadImageError(`image config: diff id ${JSON.stringify(bad)} is not a sha256 digest`);
  const healthcheck = parseHealthcheck(config["Healthcheck"]);
  return {
    user: stringOf(config["User"]),
    env: stringList(config["Env"], "Env"),
    entrypoint: stringList(config["Entrypoint"], "Entrypoint"),
    cmd: stringList(config["Cmd"], "Cmd"),
    workingDir: stringOf(config["WorkingDir"]),
    stopSignal: stringOf(config["StopSignal"]),
    labels: Object.fromEntries(
      Object.entries((config["Labels"] ?? {}) as Record<string, unknown>).map(([key, label]) => [key, String(label)]),
    ),
    volumes: Object.keys((config["Volumes"] ?? {}) as object),
    ...(healthcheck === undefined ? {} : { healthcheck }),
    diffIds,
  };
}

/** What the config says the image was made for. */
export function configPlatform(text: string): Platform {
  const value = asObject(parseJson(text, "image config"), "image config");
  const [os, architecture, variant] = ["os", "architecture", "variant"].map((name) => stringOf(value[name]));
  return { os: os!, architecture: architecture!, variant: variant! };
}

function parseHealthcheck(value: unknown): ImageConfig["healthcheck"] {
  if (typeof value !== "object" || value === null) return undefined;
  const check = value as Record<string, unknown>;
  const number = (name: string) => (typeof check[name] === "number" ? check[name] : 0);
  return {
    test: stringList(check["Test"], "Healthcheck.Test"),
    intervalNs: number("Interval"),
    timeoutNs: number("Timeout"),
    startPeriodNs: number("StartPeriod"),
    retries: number("Retries"),
  };
}

function parseDescriptor(value: unknown, where: string): Descriptor {
  const object = asObject(value, where);
  const { mediaType, digest, size } = object;
  if (typeof digest !== "string" || !digestPattern.test(digest)) {
    throw new BadImageError(`manifest: ${where}.digest must be sha256:<64 hexadecimal digits>`);
  }
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw new BadImageError(`manifest: ${where}.size must be a number of bytes`);
  }
  return { mediaType: typeof mediaType === "string" ? mediaType : "", digest, size };
}

function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new BadImageError(`${what}: not JSON`);
  }
}

function asObject(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new BadImageError(`${what}: must be an object`);
  }
  return value as Record<string, unknown>;
}

function stringList(value: unknown, what: string): readonly string[] {
  if (value === null || value === undefined) return [];
  if (!Array.isArray(value) || value.some((item) => typeof item !== "string")) {
    throw new BadImageError(`image config: ${what} must be a list of strings`);
  }
  return value as string[];
}

function stringOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
