import { randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { FatalTaskError } from "../exec/controller.ts";

/** A volume of this node: a folder that outlives the containers that use it. */
export interface LocalVolume {
  readonly name: string;
  /** Of the host. */
  readonly mountpoint: string;
  readonly createdAtMs: number;
  readonly labels: Readonly<Record<string, string>>;
  /** Of the local driver: `type`, `device` and `o`, as mount(8) takes them; empty: a folder of the state folder. */
  readonly options: Readonly<Record<string, string>>;
  /** Made for one task without a name: removed with it. */
  readonly anonymous: boolean;
}

interface VolumeFile extends LocalVolume {
  readonly version: 1;
  /** `new` until a container got it with what its image has there; `filling` while that is copied. */
  readonly content: "new" | "filling" | "ready";
}

/** No volume's name begins so. */
const removedPrefix = ".removed-";
const namePattern = /^[A-Za-z0-9][\w.-]{1,254}$/;

export function isVolumeName(name: string): boolean {
  return namePattern.test(name);
}

/**
 * Volumes on disk: `<name>/_data` and `<name>/volume.json`. One process owns them. A volume whose filling was cut short
 * by a crash is emptied before it is filled again: no container had it by then.
 */
export class VolumeStore {
  readonly #folder: string;
  /** By name: the end of what is done with a volume now. */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Finishes the removals that a crash cut short. Call it before anything else. */
  async open(): Promise<void> {
    const names = await readdir(this.#folder).catch(() => []);
    const gone = names.filter((name) => name.startsWith(removedPrefix));
    await Promise.all(gone.map((name) => rm(join(this.#folder, name), { recursive: true, force: true })));
  }

  /** The host's folder of a volume. Throws FatalTaskError for names that are none. */
  dataFolder(name: string): string {
    return join(this.#volumeFolder(name), "_data");
  }

  /**
   * Makes the volumes that are missing and runs `use`, in which the shim fills those that `fill` names and that are still
   * new. Users of one volume take turns, so that none sees it half filled.
   */
  async withVolumes<T>(
    wanted: readonly Omit<LocalVolume, "mountpoint">[],
    use: (isNew: (name: string) => boolean) => Promise<T>,
  ): Promise<T> {
    const names = [...new Set(wanted.map(({ name }) => name))].sort();
    return this.#inTurn(names, async () => {
      const fresh = new Set<string>();
      for (const volume of wanted) if (await this.#make(volume)) fresh.add(volume.name);
      for (const name of fresh) await this.#setContent(name, "filling");
      const result = await use((name) => fresh.has(name));
      for (const name of fresh) await this.#setContent(name, "ready");
      return result;
    });
  }

  async list(): Promise<readonly LocalVolume[]> {
    const names = (await readdir(this.#folder).catch(() => [])).filter((name) => namePattern.test(name)).sort();
    const files = await Promise.all(names.map((name) => this.#read(name)));
    return files.filter((file) => file !== undefined).map(withoutState);
  }

  async get(name: string): Promise<LocalVolume | undefined> {
    const file = await this.#read(name);
    return file && withoutState(file);
  }

  /**
   * Removes it with all that is in it; the caller knows that nobody uses it, or `isUsed` says so at the moment when no
   * container with it can come. False when there is none, and when it is used.
   */
  async remove(name: string, isUsed: () => Promise<boolean> = async () => false): Promise<boolean> {
    return this.#inTurn([name], async () => {
      if ((await this.#read(name)) === undefined || (await isUsed())) return false;
      // In one step, so that a crash leaves no volume with half of its files.
      const gone = join(this.#folder, `${removedPrefix}${randomUUID()}`);
      await rename(this.#volumeFolder(name), gone);
      await rm(gone, { recursive: true, force: true });
      return true;
    });
  }

  /** True when nothing was put into it yet. */
  async #make(volume: Omit<LocalVolume, "mountpoint">): Promise<boolean> {
    const data = this.dataFolder(volume.name);
    const there = await this.#read(volume.name);
    if (there?.content === "ready") return false;
    if (there?.content === "filling") await rm(data, { recursive: true, force: true });
    await mkdir(data, { recursive: true });
    if (there === undefined) await this.#write({ version: 1, mountpoint: data, ...volume, content: "new" });
    return true;
  }

  async #setContent(name: string, content: VolumeFile["content"]): Promise<void> {
    const file = await this.#read(name);
    if (file !== undefined) await this.#write({ ...file, content });
  }

  /** Undefined when there is no such volume. A folder without its file was made by hand, or by an earlier swarmd. */
  async #read(name: string): Promise<VolumeFile | undefined> {
    const mountpoint = this.dataFolder(name);
    const text = await readFile(join(this.#volumeFolder(name), "volume.json"), "utf8").catch(() => undefined);
    if (text === undefined) {
      const entries = await readdir(mountpoint).catch(() => undefined);
      if (entries === undefined) return undefined;
      const unknown = { createdAtMs: 0, labels: {}, options: {}, anonymous: false };
      return { version: 1, name, mountpoint, ...unknown, content: entries.length === 0 ? "new" : "ready" };
    }
    const file = JSON.parse(text) as VolumeFile;
    if (file.version !== 1) {
      throw new FatalTaskError(`volume ${name}: its file has version ${file.version}, this swarmd reads version 1`);
    }
    return { ...file, mountpoint };
  }

  async #write(file: VolumeFile): Promise<void> {
    const path = join(this.#volumeFolder(file.name), "volume.json");
    await writeFile(`${path}.tmp`, `${JSON.stringify(file)}\n`);
    await rename(`${path}.tmp`, path);
  }

  #volumeFolder(name: string): string {
    if (!namePattern.test(name)) {
      throw new FatalTaskError(
        `${JSON.stringify(name)} is not a volume's name: use 2 to 255 letters, digits, _ . -, the first a letter or digit`,
      );
    }
    return join(this.#folder, name);
  }

  async #inTurn<T>(names: readonly string[], run: () => Promise<T>): Promise<T> {
    const before = names.map((name) => this.#turns.get(name));
    const done = Promise.allSettled(before).then(run);
    for (const name of names) this.#turns.set(name, done);
    try {
      return await done;
    } finally {
      for (const name of names) if (this.#turns.get(name) === done) this.#turns.delete(name);
    }
  }
}

function withoutState({ content: _content, version: _version, ...volume }: VolumeFile): LocalVolume {
  return volume;
}
