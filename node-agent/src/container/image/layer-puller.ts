import type { ImageReference } from "@starling/api";
import { type Clock, metrics } from "@starling/base";
import { BadImageError, type Descriptor, type RegistryClient, type RegistryCredentials } from "@starling/registry";
import { deadBuffers } from "./dead-buffers.ts";
import type { ImageStore } from "./image-store.ts";
import type { WantedLayer } from "./layer-store.ts";
import type { PullProgress } from "./progress.ts";
import { Semaphore } from "./semaphore.ts";
import type { LayerSharing } from "./sharing/layer-sharing.ts";
import type { PeerDownload } from "./sharing/peer-download.ts";
import { transferBlob } from "./transfer.ts";

/** Layers downloaded and unpacked at once, on the whole node. */
const layersAtOnce = 3;

const received = metrics.counter("starling_image_bytes_received_total", "Bytes of layers downloaded.", ["from"]);

interface Source {
  /** Undefined: only blobs that are here already are used, e.g. an archive's. */
  readonly image: ImageReference | undefined;
  readonly credentials: RegistryCredentials | undefined;
  readonly progress: PullProgress;
}

type RemoteSource = Source & { readonly image: ImageReference };

/**
 * Downloads layers and unpacks them on the way; each once, whoever wants it. A download that ended in the middle goes on
 * where it was, after a restart of swarmd too.
 */
export class LayerPuller {
  readonly #store: ImageStore;
  readonly #registry: RegistryClient;
  readonly #sharing: LayerSharing | undefined;
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #slots = new Semaphore(layersAtOnce);
  /** By blob: in which place (diff ids up to it), and the folder's name, or undefined when it needs what lies below it. */
  readonly #running = new Map<string, { readonly key: string; readonly folder: Promise<string | undefined> }>();

  constructor(options: {
    readonly store: ImageStore;
    readonly registry: RegistryClient;
    /** Absent: all comes from registries. */
    readonly sharing?: LayerSharing | undefined;
    readonly clock: Clock;
    readonly signal: AbortSignal;
  }) {
    this.#store = options.store;
    this.#registry = options.registry;
    this.#sharing = options.sharing;
    this.#clock = options.clock;
    this.#signal = options.signal;
  }

  /** Names of the layers' folders, lowest first. Throws when one cannot be had, after the others have ended. */
  async pull(
    image: ImageReference | undefined,
    options: {
      readonly layers: readonly Descriptor[];
      readonly diffIds: readonly string[];
      readonly credentials: RegistryCredentials | undefined;
      readonly progress: PullProgress;
    },
  ): Promise<readonly string[]> {
    const source = { image, credentials: options.credentials, progress: options.progress };
    const wanted = options.layers.map(({ digest, size }, i) => ({
      digest,
      size,
      diffIds: options.diffIds.slice(0, i + 1),
    }));
    for (const { size } of wanted) options.progress.expect(size);
    // All are waited for, so that a second try does not meet the rest of the first.
    const outcomes = await Promise.allSettled(wanted.map((layer) => this.#once(layer, source)));
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed !== undefined) throw failed.reason;
    const folders: string[] = [];
    for (const [i, outcome] of outcomes.entries()) {
      const name = outcome.status === "fulfilled" ? outcome.value : undefined;
      folders.push(name ?? (await this.#over(wanted[i]!, folders)));
    }
    return folders;
  }

  async #once(layer: WantedLayer, source: Source): Promise<string | undefined> {
    const key = layer.diffIds.join();
    for (;;) {
      const running = this.#running.get(layer.digest);
      if (running === undefined) break;
      if (running.key === key) return running.folder;
      // The same blob in another place: one at a time writes it.
      await running.folder;
    }
    const folder = deadBuffers
      .during(() => this.#slots.run(() => this.#bring(layer, source)))
      .finally(() => this.#running.delete(layer.digest));
    this.#running.set(layer.digest, { key, folder });
    return folder;
  }

  async #bring(layer: WantedLayer, source: Source): Promise<string | undefined> {
    const found = await this.#store.layers.find(layer.diffIds);
    if (found !== undefined) {
      source.progress.add(layer.size);
      return found;
    }
    if (await this.#store.blobs.has(layer.digest)) {
      source.progress.add(layer.size);
      try {
        return await this.#unpackKept(layer);
      } catch (error) {
        if (!(error instanceof BadImageError)) throw error;
        await this.#store.blobs.remove(layer.digest);
        if (source.image === undefined) throw error;
        source.progress.add(-layer.size);
      }
    }
    const { image } = source;
    if (image === undefined) throw new BadImageError(`layer ${layer.digest}: its content is missing`);
    const peers = this.#sharing?.download(layer.digest, image.digest);
    try {
      return await this.#fetch(layer, { ...source, image }, peers);
    } catch (error) {
      peers?.end();
      throw error;
    }
  }

  /** Downloads until what comes is what it should be, or is not although all of it was the registry's. */
  async #fetch(layer: WantedLayer, source: RemoteSource, peers: PeerDownload | undefined): Promise<string | undefined> {
    for (;;) {
      const kept = await this.#store.blobs.ingested(layer.digest);
      try {
        return await this.#download(layer, source, peers);
      } catch (error) {
        if (!(error instanceof BadImageError)) throw error;
        await this.#store.blobs.dropIngest(layer.digest);
        // What was kept of an earlier download, through a power cut perhaps, or what a node gave, may be what is wrong.
        if (kept === 0 && !peers?.isFromPeers) throw error;
        peers?.distrust();
        source.progress.add(-layer.size);
      }
    }
  }

  async #unpackKept(layer: WantedLayer): Promise<string | undefined> {
    const blob = this.#store.blobs.path(layer.digest);
    return (await this.#store.layers.put(layer, { blob, feed: undefined, signal: this.#signal })).name;
  }

  async #download(
    layer: WantedLayer,
    source: RemoteSource,
    peers: PeerDownload | undefined,
  ): Promise<string | undefined> {
    const { blobs, layers } = this.#store;
    const offset = await blobs.ingested(layer.digest);
    if (offset > layer.size) {
      await blobs.dropIngest(layer.digest);
      return this.#download(layer, source, peers);
    }
    source.progress.add(offset);
    const { name, synced } = await layers.put(layer, {
      blob: blobs.ingestPath(layer.digest),
      signal: this.#signal,
      feed: (into, signal) =>
        transferBlob(
          async (from, streamSignal) =>
            (await peers?.open(from, streamSignal)) ??
            this.#registry.blob(source.image, layer, {
              credentials: source.credentials,
              offset: from,
              signal: streamSignal,
            }),
          {
            into,
            offset,
            size: layer.size,
            clock: this.#clock,
            signal,
            onBytes: (count) => {
              source.progress.add(count);
              deadBuffers.passed(count);
              peers?.moved();
              received.inc({ from: peers?.isAtRegistry === false ? "node" : "registry" }, count);
            },
          },
        ),
    });
    // Others may have it from here once it is committed: only then does somebody else's turn come.
    const committed = synced.then(() => blobs.commit(layer.digest)).finally(() => peers?.end());
    // Without it the blob is downloaded again when it is asked for; a layer that is not unpacked yet needs it now.
    if (name === undefined) await committed;
    else committed.catch(() => {});
    return name;
  }

  /** Unpacks a layer over those below it. */
  async #over(layer: WantedLayer, lowers: readonly string[]): Promise<string> {
    const found = await this.#store.layers.find(layer.diffIds);
    if (found !== undefined) return found;
    const blob = this.#store.blobs.path(layer.digest);
    const options = { blob, feed: undefined, lowers: [...new Set(lowers)], signal: this.#signal };
    return (await this.#store.layers.put(layer, options)).name!;
  }
}
