import { addon } from "./addon.ts";
import { BpfMaps, bpfObject, type MapChange } from "./bpf-maps.ts";

/** The maps that are filled from here, in the order that numbers them (shortcut.h), with the sizes of shortcut.bpf.c's keys and values in bytes. */
export const shortcutMaps = {
  ports: { number: 0, keySize: 12, valueSize: 4 },
  vxlans: { number: 1, keySize: 4, valueSize: 4 },
} as const;

export type ShortcutMap = keyof typeof shortcutMaps;
export type ShortcutChange = MapChange<ShortcutMap>;

/** Programs by where they are attached, in the order that numbers them. */
export const shortcutPrograms = ["task", "vxlan"] as const;
export type ShortcutProgram = (typeof shortcutPrograms)[number];

/**
 * Programs that carry frames of overlay networks between tasks' devices and VXLAN past the bridge (shortcut.bpf.c), loaded. Devices
 * that they are attached to (`trafficControl.addFilter`) keep them and their maps, whatever becomes of this process.
 */
export class Shortcut {
  readonly #number: number;
  readonly maps: BpfMaps<ShortcutMap>;

  private constructor(number: number) {
    this.#number = number;
    this.maps = new BpfMaps(number, shortcutMaps);
  }

  /** Rejects where the kernel or libbpf does not allow it. */
  static async open(): Promise<Shortcut> {
    return new Shortcut(await addon().openShortcut(bpfObject("shortcut")));
  }

  /** A program's descriptor, good until `close`, and what names it in the kernel. */
  program(at: ShortcutProgram): { readonly fd: number; readonly id: number } {
    return addon().shortcutProgram(this.#number, shortcutPrograms.indexOf(at));
  }

  /** Ends this process's hold. */
  close(): void {
    addon().closePrograms(this.#number);
  }
}
