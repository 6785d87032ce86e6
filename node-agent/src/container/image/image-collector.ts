import { rm, stat } from "node:fs/promises";
import { assert, type Clock, type Logger, type Millis, metrics } from "@starling/base";
import { type ImageConfig, parseImageConfig, parseManifest } from "@starling/registry";
import { diskSpace } from "./disk-space.ts";
import type { ImageRecord, ImageStore } from "./image-store.ts";
import type { ImageUsage } from "./image-usage.ts";
import { type ImageFacts, planByAge, planForRoom, type RemovalPlan } from "./removal-plan.ts";

export interface CollectorSettings {
  /** Images that no task wanted for so long are removed; 0: never. */
  readonly ageMs: Millis;
  /** Share of the disk, from 0 to 1, below which images make room; 0: only when it is full. */
  readonly freeShare: number;
}

export const defaultCollectorSettings: CollectorSettings = { ageMs: 30 * 24 * 3_600_000, freeShare: 0.15 };

const periodMs: Millis = 5 * 60_000;
/** What was wanted so lately is not collected for room unless the disk is full. */
const restMs: Millis = 2 * 60_000;
/** What no image names may be of a pull that goes on after a restart. */
const orphanAgeMs: Millis = 3_600_000;
/** Room is made up to this share more than it may fall to. */
const slackShare = 0.05;
/** An index is small; larger blobs are layers. */
const indexBytesMax = 4 << 20;

/** An image on this node. */
export interface ListedImage extends ImageFacts {
  readonly config: ImageConfig;
  readonly configText: string;
  readonly record: ImageRecord;
}

export interface Removed {
  readonly references: readonly string[];
  readonly digests: readonly string[];
  readonly freedBytes: number;
}

/**
 * Knows the images of this node and removes them: when asked, when nobody wanted them for long, when the disk runs full.
 * First references and records go, on the disk before anything else; then layers and blobs that nothing names any more, each
 * in one step. So a crash leaves at worst what nothing names, which goes the next time.
 */
export class ImageCollector {
  readonly #store: ImageStore;
  readonly #usage: () => Promise<ImageUsage>;
  readonly #settings: CollectorSettings;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** Room is being made. */
  #making: Promise<boolean> | undefined;

  constructor(options: {
    readonly store: ImageStore;
    readonly usage: () => Promise<ImageUsage>;
    readonly settings: CollectorSettings;
    readonly clock: Clock;
    readonly log: Logger;
  }) {
    this.#store = options.store;
    this.#usage = options.usage;
    this.#settings = options.settings;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Looks every five minutes until the signal aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.collect().catch((error) => this.#log.warn("images not looked through", { error }));
      await this.#clock.sleep(periodMs, signal).catch(() => undefined); // Aborted: the loop ends.
    }
  }

  /** Removes what is too old, and makes room if there is too little. */
  async collect(): Promise<void> {
    const nowMs = this.#clock.now();
    for (const { digest, running } of await this.images())
      if (running.length > 0) await this.#store.touch(digest, nowMs);
    const { ageMs, freeShare } = this.#settings;
    const aged = (images: readonly ImageFacts[]) => (ageMs === 0 ? nothing : planByAge(images, nowMs - ageMs));
    await this.remove(aged, { reason: "age", orphanAgeMs });
    const { freeBytes, totalBytes } = await diskSpace(this.#store.folder);
    if (freeBytes < freeShare * totalBytes) await this.#makeRoom(nowMs - restMs);
    await this.#measure();
  }

  /** For who found the disk full: removes what nobody uses until there is room again. Whether anything was freed. */
  makeRoom(): Promise<boolean> {
    return this.#makeRoom(Number.POSITIVE_INFINITY);
  }

  /** All images on this node. */
  async images(): Promise<readonly ListedImage[]> {
    const store = this.#store;
    const [usage, references] = [await this.#usage(), await store.references()];
    const images: ListedImage[] = [];
    for (const digest of await store.list()) {
      const record = await store.record(digest);
      const configText = record && (await store.blobs.read(record.config))?.toString("utf8");
      if (record === undefined || configText === undefined) continue;
      const own = references.filter((reference) => reference.digest === digest);
      const uses = store.guard.uses.filter((use) => use.digest === digest).map(({ user }) => user.taskName);
      const tasks = usage.images.get(digest);
      images.push({
        digest,
        id: record.config,
        references: own.map(({ reference }) => reference),
        config: parseImageConfig(configText),
        configText,
        record,
        labels: parseImageConfig(configText).labels,
        createdMs: createdMsOf(configText),
        usedAtMs: await store.usedAtMs(digest),
        loaded: own.some(({ loaded }) => loaded === true),
        running: [...new Set([...(tasks?.running ?? []), ...uses])],
        ended: tasks?.ended ?? [],
        pinned: store.guard.isPinned(digest),
      });
    }
    return images;
  }

  /**
   * Removes what `decide` says of the present images, and what then nothing names. What it throws is thrown; then nothing was
   * removed.
   */
  async remove(
    decide: (images: readonly ListedImage[]) => RemovalPlan,
    options: { readonly reason: "asked" | "age" | "space"; readonly orphanAgeMs?: Millis },
  ): Promise<Removed> {
    const store = this.#store;
    const before = await diskSpace(store.folder);
    const { plan, left } = await store.guard.removing(async () => {
      const images = await this.images();
      const { digests, references } = decide(images);
      for (const digest of digests) assert(!store.guard.isPinned(digest), () => `image ${digest} is in use`);
      await store.forget(references, digests);
      const remaining = images.filter(({ digest }) => !digests.includes(digest));
      const orphans = await this.#retireOrphans(remaining, options.orphanAgeMs ?? 0);
      return { plan: { references, digests }, left: orphans };
    });
    for (const path of left) await rm(path, { recursive: true, force: true });
    const after = await diskSpace(store.folder);
    const freedBytes = Math.max(0, after.freeBytes - before.freeBytes);
    if (plan.digests.length > 0) {
      metrics
        .counter("starling_images_removed_total", "Images removed from this node.", ["reason"])
        .inc({ reason: options.reason }, plan.digests.length);
      this.#log.info("images removed", {
        reason: options.reason,
        images: plan.references,
        digests: plan.digests,
        freedBytes,
      });
    }
    return { ...plan, freedBytes };
  }

  async #makeRoom(beforeMs: Millis): Promise<boolean> {
    this.#making ??= this.#makeRoomOnce(beforeMs).finally(() => {
      this.#making = undefined;
    });
    return await this.#making;
  }

  async #makeRoomOnce(beforeMs: Millis): Promise<boolean> {
    const { totalBytes } = await diskSpace(this.#store.folder);
    const wantedBytes = (this.#settings.freeShare + slackShare) * totalBytes;
    // Leftovers first: they are of no use to anyone.
    let freedBytes = (await this.remove(() => nothing, { reason: "space" })).freedBytes;
    for (;;) {
      const { freeBytes } = await diskSpace(this.#store.folder);
      if (freeBytes >= wantedBytes) break;
      const removed = await this.remove((images) => planForRoom(images, beforeMs), { reason: "space" });
      freedBytes += removed.freedBytes;
      if (removed.digests.length === 0) {
        this.#log.warn("little room for images, and nothing left to remove", { freeBytes, wantedBytes });
        break;
      }
    }
    return freedBytes > 0;
  }

  /** Makes what no image names unfindable; gives paths that are left to remove. Only while nobody can pin. */
  async #retireOrphans(images: readonly ListedImage[], ageMs: Millis): Promise<readonly string[]> {
    const { blobs, layers, guard } = this.#store;
    const usage = await this.#usage();
    const digests = new Set(images.map(({ digest }) => digest));
    const named = new Set([
      ...digests,
      ...images.flatMap(({ record }) => [
        record.config,
        ...record.layers.flatMap(({ blob, folder }) => [blob, folder]),
      ]),
      ...usage.layers,
    ]);
    const isOrphan = (piece: string) => !named.has(piece) && !guard.isPinned(piece);
    const beforeMs = this.#clock.now() - ageMs;
    const isOld = async (path: string) => ageMs === 0 || (await changedAtMs(path)) < beforeMs;
    const retired: string[] = [];
    for (const name of await layers.list()) if (isOrphan(name) && (await isOld(layers.path(name)))) retired.push(name);
    const left = await layers.retire(retired);
    for (const digest of await blobs.list()) {
      if (!isOrphan(digest) || !(await isOld(blobs.path(digest)))) continue;
      if (!(await this.#leadsTo(digest, digests))) await blobs.remove(digest);
    }
    for (const digest of await blobs.listIngest()) {
      if (!guard.isPinned(digest) && (await isOld(blobs.ingestPath(digest)))) await blobs.dropIngest(digest);
    }
    return left;
  }

  /** Whether a blob is an index of one of the images: a reference with its digest asks no registry while it is here. */
  async #leadsTo(digest: string, images: ReadonlySet<string>): Promise<boolean> {
    if (((await this.#store.blobs.size(digest)) ?? 0) > indexBytesMax) return false;
    const bytes = await this.#store.blobs.read(digest);
    try {
      const manifest = parseManifest(bytes?.toString("utf8") ?? "");
      return manifest.kind === "index" && manifest.manifests.some((entry) => images.has(entry.digest));
    } catch {
      // A layer, or a config.
      return false;
    }
  }

  async #measure(): Promise<void> {
    const { freeBytes } = await diskSpace(this.#store.folder);
    metrics.gauge("starling_images", "Images on this node.").set((await this.#store.list()).length);
    metrics.gauge("starling_images_disk_free_bytes", "Free bytes of the disk that holds the images.").set(freeBytes);
  }
}

const nothing: RemovalPlan = { references: [], digests: [] };

function createdMsOf(configText: string): number | undefined {
  const { created } = JSON.parse(configText) as { readonly created?: unknown };
  const ms = typeof created === "string" ? Date.parse(created) : Number.NaN;
  return Number.isFinite(ms) ? ms : undefined;
}

/** When a name was last given to it: an unpacked folder's own time is its image's. */
function changedAtMs(path: string): Promise<number> {
  return stat(path).then(
    ({ ctimeMs }) => ctimeMs,
    () => Number.POSITIVE_INFINITY,
  );
}
