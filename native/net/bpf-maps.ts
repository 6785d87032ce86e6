import { fileURLToPath } from "node:url";
import { addon } from "./addon.ts";

/** A map that is filled from here: its number in the C++ side's order, and the sizes of keys and values in bytes. */
export interface MapShape {
  readonly number: number;
  readonly keySize: number;
  readonly valueSize: number;
}

/** Sets an entry, or without `value` deletes it. Bytes as hexadecimal digits. */
export interface MapChange<Name extends string> {
  readonly map: Name;
  readonly key: string;
  readonly value?: string | undefined;
}

/** File of compiled eBPF programs. */
export const bpfObject = (name: string): string =>
  fileURLToPath(new URL(`build/Release/${name}.bpf.o`, import.meta.url));

/** The maps of programs that the addon has loaded under a number. */
export class BpfMaps<Name extends string> {
  readonly #number: number;
  readonly #shapes: Readonly<Record<Name, MapShape>>;

  constructor(number: number, shapes: Readonly<Record<Name, MapShape>>) {
    this.#number = number;
    this.#shapes = shapes;
  }

  /** Makes the changes in their order; rejects at the first that is refused. */
  change(changes: readonly MapChange<Name>[]): Promise<void> {
    const text = changes.map(({ map, key, value }) => {
      const { number } = this.#shapes[map];
      return `${value === undefined ? "00" : "01"}0${number}${key}${value ?? ""}`;
    });
    return addon().changeMaps(this.#number, Buffer.from(text.join(""), "hex"));
  }

  /** What all maps have: values by key. */
  async readAll(): Promise<Readonly<Record<Name, ReadonlyMap<string, string>>>> {
    const names = Object.keys(this.#shapes) as Name[];
    const read = await Promise.all(names.map(async (name) => [name, await this.#read(name)] as const));
    return Object.fromEntries(read) as Record<Name, ReadonlyMap<string, string>>;
  }

  async #read(map: Name): Promise<ReadonlyMap<string, string>> {
    const { number, keySize, valueSize } = this.#shapes[map];
    const bytes = Buffer.from(await addon().readMap(this.#number, number));
    const entries = new Map<string, string>();
    for (let at = 0; at < bytes.length; at += keySize + valueSize) {
      entries.set(
        bytes.toString("hex", at, at + keySize),
        bytes.toString("hex", at + keySize, at + keySize + valueSize),
      );
    }
    return entries;
  }
}
