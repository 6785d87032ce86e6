import { type ImageReference, parseImageReference } from "@starling/api";
import { type Clock, type Logger, SwarmError } from "@starling/base";
import { FatalTaskError, TemporaryError } from "../../exec/controller.ts";
import type { ImageStore, StoredImage } from "./image-store.ts";
import {
  BadImageError,
  choosePlatform,
  type Descriptor,
  type Platform,
  parseImageConfig,
  parseManifest,
} from "./manifest.ts";
import { displayName, parseRegistryAuth, type RegistryClient, type RegistryCredentials } from "./registry.ts";
import { Semaphore } from "./semaphore.ts";

/** Layers downloaded and unpacked at once, on the whole node. */
const layersAtOnce = 3;
const attempts = 3;
const retryPauseMs = 500;

/** Brings images onto the host. Two tasks that want one image, or one layer, share one download. */
export class ImagePuller {
  readonly #store: ImageStore;
  readonly #registry: RegistryClient;
  readonly #platform: Platform;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #slots = new Semaphore(layersAtOnce);
  readonly #pulls = new Map<string, Promise<StoredImage>>();
  readonly #layers = new Map<string, Promise<void>>();
  readonly #closed = new AbortController();

  constructor(options: {
    readonly store: ImageStore;
    readonly registry: RegistryClient;
    readonly platform: Platform;
    readonly clock: Clock;
    readonly log: Logger;
  }) {
    this.#store = options.store;
    this.#registry = options.registry;
    this.#platform = options.platform;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Ends what is being pulled. */
  close(): void {
    this.#closed.abort(new SwarmError("Cancelled", "images: closed"));
  }

  /**
   * The image that `reference` names, all of it on this host. A reference with a digest that is here asks nobody; a tag
   * asks its registry what it means now, and means what it meant before when the registry is away. Throws FatalTaskError
   * (no such image, access denied, damaged) or TemporaryError.
   */
  async pull(
    reference: string,
    options: { readonly registryAuth: string; readonly signal: AbortSignal },
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
      pull = this.#pull(image, parseRegistryAuth(options.registryAuth)).finally(() => this.#pulls.delete(key));
      // Waiters may all have gone when it fails.
      pull.catch(() => {});
      this.#pulls.set(key, pull);
    }
    return withSignal(pull, options.signal);
  }

  /** The image as `reference` was last pulled, without asking anyone. */
  async stored(reference: string): Promise<StoredImage | undefined> {
    const digest = await this.#store.resolved(displayName(parseImageReference(reference)));
    return digest === undefined ? undefined : this.#store.image(digest);
  }

  async #pull(image: ImageReference, credentials: RegistryCredentials | undefined): Promise<StoredImage> {
    const name = displayName(image);
    try {
      return await this.#pullFresh(image, credentials);
    } catch (error) {
      if (error instanceof BadImageError) throw new FatalTaskError(`image ${name}: ${error.message}`);
      if (!(error instanceof TemporaryError)) throw error;
      const digest = await this.#store.resolved(name);
      const known = digest === undefined ? undefined : await this.#store.image(digest);
      if (known === undefined) throw error;
      this.#log.warn("registry away, using the image as pulled before", { image: name, error: error.message });
      return known;
    }
  }

  async #pullFresh(image: ImageReference, credentials: RegistryCredentials | undefined): Promise<StoredImage> {
    const name = displayName(image);
    if (image.digest !== "") {
      const digest = await this.#store.resolved(name);
      const known = digest === undefined ? undefined : await this.#store.image(digest);
      if (known !== undefined) return known;
    }
    const options = { credentials, signal: this.#closed.signal };
    const named = await this.#retry(() =>
      this.#registry.manifest(image, image.digest || image.tag || "latest", options),
    );
    let { digest } = named;
    let manifest = parseManifest(named.text);
    if (manifest.kind === "index") {
      const chosen = choosePlatform(manifest.manifests, this.#platform);
      if (chosen === undefined) {
        throw new BadImageError(`no manifest for ${this.#platform.os}/${this.#platform.architecture}`);
      }
      digest = chosen.digest;
      const known = await this.#store.image(digest);
      if (known !== undefined) return this.#remember(name, known);
      manifest = parseManifest((await this.#retry(() => this.#registry.manifest(image, digest, options))).text);
      if (manifest.kind === "index") throw new BadImageError("an index within an index");
    }
    const known = await this.#store.image(digest);
    if (known !== undefined) return this.#remember(name, known);
    const { config: configBlob, layers } = manifest;
    const configText = await this.#retry(() => this.#registry.smallBlob(image, configBlob, options));
    const config = parseImageConfig(configText);
    if (config.diffIds.length !== layers.length) {
      throw new BadImageError(`manifest has ${layers.length} layers, its config ${config.diffIds.length}`);
    }
    this.#log.info("pulling image", { image: name, digest, layers: layers.length });
    const downloads = layers.map((blob, i) => this.#layer(image, { blob, diffId: config.diffIds[i]! }, options));
    // All are waited for, so that a second try does not meet the rest of the first.
    const failed = (await Promise.allSettled(downloads)).find((outcome) => outcome.status === "rejected");
    if (failed !== undefined) throw failed.reason;
    await this.#store.putConfig(digest, configText);
    const stored = await this.#store.image(digest);
    if (stored === undefined) throw new TemporaryError(`image ${name}: a layer vanished while it was pulled`);
    return this.#remember(name, stored);
  }

  async #remember(name: string, image: StoredImage): Promise<StoredImage> {
    if ((await this.#store.resolved(name)) !== image.digest) await this.#store.setResolved(name, image.digest);
    return image;
  }

  /** One download a layer, whoever wants it. */
  #layer(
    image: ImageReference,
    layer: { readonly blob: Descriptor; readonly diffId: string },
    options: { readonly credentials: RegistryCredentials | undefined; readonly signal: AbortSignal },
  ): Promise<void> {
    const running = this.#layers.get(layer.diffId);
    if (running !== undefined) return running;
    const download = this.#slots
      .run(async () => {
        if (await this.#store.hasLayer(layer.diffId)) return;
        await this.#retry(async () => {
          const source = await this.#registry.blob(image, layer.blob, options);
          await this.#store.putLayer(source, { digest: layer.blob.digest, diffId: layer.diffId }, options.signal);
        });
      })
      .finally(() => this.#layers.delete(layer.diffId));
    this.#layers.set(layer.diffId, download);
    return download;
  }

  /** A connection that breaks in the middle shows as any error of the stream: what is not final is tried again. */
  async #retry<T>(attempt: () => Promise<T>): Promise<T> {
    for (let count = 1; ; count++) {
      try {
        return await attempt();
      } catch (error) {
        this.#closed.signal.throwIfAborted();
        if (error instanceof FatalTaskError || error instanceof BadImageError) throw error;
        if (count === attempts) {
          throw error instanceof TemporaryError ? error : new TemporaryError(SwarmError.from(error).message);
        }
        await this.#clock.sleep(retryPauseMs * count, this.#closed.signal);
      }
    }
  }
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
