import { type ImageReference, parseImageReference } from "@starling/api";
import { type Clock, type Logger, SwarmError } from "@starling/base";
import {
  BadImageError,
  choosePlatform,
  digestOf,
  displayName,
  type Platform,
  parseImageConfig,
  parseManifest,
  parseRegistryAuth,
  platformNames,
  type RegistryClient,
  type RegistryCredentials,
  readLimited,
} from "@starling/registry";
import { FatalTaskError, TemporaryError } from "../../exec/controller.ts";
import { describeFullDisk, isDiskFull } from "./disk-space.ts";
import { type ImageUser, PinHold } from "./image-guard.ts";
import type { ImageStore, StoredImage } from "./image-store.ts";
import { LayerPuller } from "./layer-puller.ts";
import { layerNames } from "./layer-store.ts";
import { type OnProgress, PullProgress } from "./progress.ts";
import type { LayerSharing } from "./sharing/layer-sharing.ts";
import { withRetries } from "./transfer.ts";

/** Of a manifest or config, as from a registry. */
const smallBlobMaxBytes = 4 << 20;

interface Pull {
  readonly image: Promise<StoredImage>;
  readonly progress: PullProgress;
  /** What it relies on, kept from being removed until all who wait for it have taken it. */
  readonly hold: PinHold;
  waiting: number;
}

/** Brings images onto the host. Two tasks that want one image, or one layer, share one download. */
export class ImagePuller {
  readonly #store: ImageStore;
  readonly #registry: RegistryClient;
  readonly #sharing: LayerSharing | undefined;
  readonly #platform: Platform;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #layers: LayerPuller;
  readonly #makeRoom: () => Promise<boolean>;
  readonly #pulls = new Map<string, Pull>();
  readonly #closed = new AbortController();

  constructor(options: {
    readonly store: ImageStore;
    readonly registry: RegistryClient;
    /** Absent: all comes from registries. */
    readonly sharing?: LayerSharing | undefined;
    readonly platform: Platform;
    readonly clock: Clock;
    readonly log: Logger;
    /** Called when the disk is full: removes what nobody uses, and says whether that freed anything. */
    readonly makeRoom?: () => Promise<boolean>;
  }) {
    this.#store = options.store;
    this.#makeRoom = options.makeRoom ?? (async () => false);
    this.#registry = options.registry;
    this.#sharing = options.sharing;
    this.#platform = options.platform;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#layers = new LayerPuller({ ...options, signal: this.#closed.signal });
  }

  /** Layers of archives are unpacked like those that are pulled. */
  get layers(): LayerPuller {
    return this.#layers;
  }

  /** Ends what is being pulled. */
  close(): void {
    this.#closed.abort(new SwarmError("Cancelled", "images: closed"));
  }

  /**
   * The image that `reference` names, all of it on this host. A reference with a digest that is here asks nobody, and so does
   * a tag that an archive gave; any other tag asks its registry what it means now, and means what it meant before when the
   * registry is away or refuses. Nothing of it is removed until `store.guard.unuse(user.taskId)`. Throws FatalTaskError (no
   * such image, access denied, damaged) or TemporaryError.
   */
  async pull(
    reference: string,
    options: {
      readonly registryAuth: string;
      readonly signal: AbortSignal;
      readonly onProgress?: OnProgress;
      readonly user?: ImageUser;
    },
  ): Promise<StoredImage> {
    let image: ImageReference;
    try {
      image = parseImageReference(reference);
    } catch (error) {
      throw new FatalTaskError(SwarmError.from(error).message);
    }
    const key = `${displayName(image)} ${options.registryAuth}`;
    let pull = this.#pulls.get(key);
    if (pull === undefined) {
      const progress = new PullProgress(this.#clock);
      const hold = new PinHold(this.#store.guard);
      const pulled = this.#pull(image, { credentials: parseRegistryAuth(options.registryAuth), progress, hold });
      pull = { image: pulled.finally(() => this.#pulls.delete(key)), progress, hold, waiting: 0 };
      // Waiters may all have gone when it fails.
      pull.image.catch(() => {});
      this.#pulls.set(key, pull);
    }
    const unlisten = pull.progress.listen(options.onProgress ?? (() => {}));
    pull.waiting++;
    try {
      const stored = await withSignal(pull.image, options.signal);
      if (options.user !== undefined) this.#store.guard.use(options.user, stored.digest);
      return stored;
    } finally {
      unlisten();
      pull.waiting--;
      const { image: settled, hold } = pull;
      const current = pull;
      const release = () => {
        if (current.waiting === 0) hold.release();
      };
      // Who waits is counted, so the last one to leave lets go; a pull that all have left goes on by itself.
      settled.then(release, release);
    }
  }

  /** The image as `reference` was last pulled, without asking anyone. */
  async stored(reference: string): Promise<StoredImage | undefined> {
    const digest = await this.#store.resolved(displayName(parseImageReference(reference)));
    return digest === undefined ? undefined : this.#store.image(digest);
  }

  async #pull(image: ImageReference, source: PullSource): Promise<StoredImage> {
    const name = displayName(image);
    try {
      return await this.#pullWithRoom(image, source);
    } catch (error) {
      if (error instanceof BadImageError) throw new FatalTaskError(`image ${name}: ${error.message}`);
      if (isDiskFull(error)) {
        const remedy = "free space on that disk, or remove images that nothing uses: swarmctl image prune --all";
        throw new TemporaryError(`image ${name}: ${await describeFullDisk(this.#store.folder)}: ${remedy}`);
      }
      this.#closed.signal.throwIfAborted();
      const known = await this.#known(name, source.hold);
      if (known === undefined) throw asTaskError(error);
      // As Docker does: what is here is used when the registry is away, or takes these credentials no more.
      this.#log.warn("not pulled, using the image as pulled before", { image: name, error });
      return known;
    }
  }

  /** On a full disk what nobody uses makes way, once. */
  async #pullWithRoom(image: ImageReference, source: PullSource): Promise<StoredImage> {
    try {
      return await this.#pullFresh(image, source);
    } catch (error) {
      if (!isDiskFull(error) || !(await this.#makeRoom())) throw error;
      this.#log.info("disk was full, pulling again", { image: displayName(image) });
      return this.#pullFresh(image, source);
    }
  }

  async #pullFresh(image: ImageReference, source: PullSource): Promise<StoredImage> {
    const { credentials, progress, hold } = source;
    const name = displayName(image);
    const here = image.digest === "" ? await this.#loaded(name, hold) : await this.#byDigest(image, hold);
    if (here !== undefined) return this.#remember(name, here);
    const { digest, text } = await this.#manifest(image, image.digest || image.tag || "latest", source);
    const manifest = parseManifest(text);
    const chosen = manifest.kind === "image" ? { digest, manifest } : await this.#ofIndex(image, manifest, source);
    const { config: configBlob, layers } = chosen.manifest;
    await hold.pin([chosen.digest, configBlob.digest, ...layers.map((layer) => layer.digest)]);
    const known = await this.#store.image(chosen.digest);
    if (known !== undefined) return this.#remember(name, known);
    const configText = await this.#config(image, configBlob, credentials);
    const { diffIds } = parseImageConfig(configText);
    if (diffIds.length !== layers.length) {
      throw new BadImageError(`manifest has ${layers.length} layers, its config ${diffIds.length}`);
    }
    await hold.pin(diffIds.flatMap((_id, i) => layerNames(diffIds.slice(0, i + 1))));
    this.#log.info("pulling image", { image: name, digest: chosen.digest, layers: layers.length });
    const folders = await this.#layers.pull(image, { layers, diffIds, credentials, progress });
    await this.#store.putImage(chosen.digest, {
      version: 1,
      config: configBlob.digest,
      layers: layers.map(({ digest: blob }, i) => ({ blob, folder: folders[i]! })),
    });
    const stored = await this.#store.image(chosen.digest);
    if (stored === undefined) throw new TemporaryError(`image ${name}: a layer vanished while it was pulled`);
    return this.#remember(name, stored);
  }

  /** What `name` meant when it was last resolved. */
  async #known(name: string, hold: PinHold): Promise<StoredImage | undefined> {
    const digest = await this.#store.resolved(name);
    return digest === undefined ? undefined : this.#pinned(digest, hold);
  }

  /** The image that an archive gave this name. */
  async #loaded(name: string, hold: PinHold): Promise<StoredImage | undefined> {
    const reference = await this.#store.reference(name);
    return reference?.loaded ? this.#pinned(reference.digest, hold) : undefined;
  }

  /** The image that a digest names, or the one for this platform of an index, when they are here. */
  async #byDigest(image: ImageReference, hold: PinHold): Promise<StoredImage | undefined> {
    const direct = await this.#pinned(image.digest, hold);
    if (direct !== undefined) return direct;
    const bytes = await this.#store.blobs.read(image.digest);
    if (bytes === undefined) return undefined;
    const manifest = parseManifest(bytes.toString("utf8"));
    const entry = manifest.kind === "index" ? choosePlatform(manifest.manifests, this.#platform) : undefined;
    return entry === undefined ? undefined : this.#pinned(entry.digest, hold);
  }

  /** The image, pinned before it is looked for. */
  async #pinned(digest: string, hold: PinHold): Promise<StoredImage | undefined> {
    await hold.pin([digest]);
    return this.#store.image(digest);
  }

  async #ofIndex(
    image: ImageReference,
    index: ReturnType<typeof parseManifest> & { readonly kind: "index" },
    source: PullSource,
  ) {
    const entry = choosePlatform(index.manifests, this.#platform);
    if (entry === undefined) {
      const own = `${this.#platform.os}/${this.#platform.architecture}`;
      throw new BadImageError(`no manifest for ${own} (it has: ${platformNames(index.manifests)})`);
    }
    const { text } = await this.#manifest(image, entry.digest, source);
    const manifest = parseManifest(text);
    if (manifest.kind === "index") throw new BadImageError("an index within an index");
    return { digest: entry.digest, manifest };
  }

  /** A manifest or index, kept: by its digest it is asked for once. */
  async #manifest(image: ImageReference, tagOrDigest: string, { credentials, hold }: PullSource) {
    if (tagOrDigest.includes(":")) await hold.pin([tagOrDigest]);
    const kept = tagOrDigest.includes(":") ? await this.#store.blobs.read(tagOrDigest) : undefined;
    if (kept !== undefined) return { digest: tagOrDigest, text: kept.toString("utf8") };
    const { signal } = this.#closed;
    const ask = async () => {
      const named = await withRetries(() => this.#registry.manifest(image, tagOrDigest, { credentials, signal }), {
        clock: this.#clock,
        signal,
      });
      await hold.pin([named.digest]);
      await this.#store.blobs.put(named.digest, Buffer.from(named.text));
      return named;
    };
    if (!tagOrDigest.includes(":")) return await ask();
    const text = await this.#fromPeers(image, tagOrDigest, async () => (await ask()).text);
    return { digest: tagOrDigest, text };
  }

  async #config(
    image: ImageReference,
    blob: Parameters<RegistryClient["smallBlob"]>[1],
    credentials: RegistryCredentials | undefined,
  ): Promise<string> {
    const kept = await this.#store.blobs.read(blob.digest);
    if (kept !== undefined) return kept.toString("utf8");
    const { signal } = this.#closed;
    return await this.#fromPeers(image, blob.digest, async () => {
      const text = await withRetries(() => this.#registry.smallBlob(image, blob, { credentials, signal }), {
        clock: this.#clock,
        signal,
      });
      await this.#store.blobs.put(blob.digest, Buffer.from(text));
      return text;
    });
  }

  /** A manifest or config from another node, kept; else what `ask`, which keeps it too, gets from the registry. */
  async #fromPeers(image: ImageReference, digest: string, ask: () => Promise<string>): Promise<string> {
    const download = this.#sharing?.download(digest, image.digest);
    if (download === undefined) return await ask();
    try {
      for (;;) {
        const stream = await download.open(0, this.#closed.signal);
        if (stream === undefined) return await ask();
        // A node that breaks off is like one that gives something else.
        const bytes = await readLimited(stream, smallBlobMaxBytes).catch(() => Buffer.alloc(0));
        if (digestOf(bytes) === digest) {
          await this.#store.blobs.put(digest, bytes);
          return bytes.toString("utf8");
        }
        download.distrust();
      }
    } finally {
      download.end();
    }
  }

  async #remember(name: string, image: StoredImage): Promise<StoredImage> {
    if ((await this.#store.resolved(name)) !== image.digest) await this.#store.setResolved(name, image.digest);
    await this.#store.touch(image.digest, this.#clock.now());
    return image;
  }
}

interface PullSource {
  readonly credentials: RegistryCredentials | undefined;
  readonly progress: PullProgress;
  readonly hold: PinHold;
}

/** What a registry's refusal, or its absence, means for a task. */
function asTaskError(error: unknown): unknown {
  if (!(error instanceof SwarmError)) return error;
  if (error.code === "NotFound" || error.code === "PermissionDenied") return new FatalTaskError(error.message);
  return error.code === "Unavailable" ? new TemporaryError(error.message) : error;
}

/** What `promise` gives, unless the signal comes first; the work behind it goes on for others. */
async function withSignal<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (onAbort !== undefined) signal.removeEventListener("abort", onAbort);
  }
}
