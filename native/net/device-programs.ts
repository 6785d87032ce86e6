import { addon } from "./addon.ts";
import { BpfMaps, bpfObject, type MapShape } from "./bpf-maps.ts";

/** An eBPF object whose programs are attached to devices. */
export interface DeviceObject<MapName extends string, Program extends string> {
  /** Of its file, NAME.bpf.c. */
  readonly name: string;
  /** The maps that are filled from here, numbered as they stand, with the sizes of its keys and values in bytes. */
  readonly maps: Readonly<Record<MapName, MapShape>>;
  /** Names of programs in the object, by where they are attached. */
  readonly programs: Readonly<Record<Program, string>>;
}

/**
 * Programs that see what comes in by devices, and their maps, loaded. Devices that they are attached to (`trafficControl.addFilter`)
 * keep them, whatever becomes of this process.
 */
export class DevicePrograms<MapName extends string, Program extends string> {
  readonly #number: number;
  readonly #programs: Readonly<Record<Program, string>>;
  readonly maps: BpfMaps<MapName>;

  private constructor(number: number, { maps, programs }: DeviceObject<MapName, Program>) {
    this.#number = number;
    this.#programs = programs;
    this.maps = new BpfMaps(number, maps);
  }

  /** Rejects where the kernel or libbpf does not allow it. */
  static async open<MapName extends string, Program extends string>(
    object: DeviceObject<MapName, Program>,
  ): Promise<DevicePrograms<MapName, Program>> {
    const maps = Object.entries<MapShape>(object.maps).sort(([, a], [, b]) => a.number - b.number);
    const number = await addon().openDevicePrograms(
      bpfObject(object.name),
      Object.values<string>(object.programs),
      maps.map(([name]) => name),
    );
    return new DevicePrograms(number, object);
  }

  /** A program's descriptor, good until `close`, what names it in the kernel, and its name in the object. */
  program(at: Program): { readonly fd: number; readonly id: number; readonly name: string } {
    const position = Object.keys(this.#programs).indexOf(at);
    return { ...addon().deviceProgram(this.#number, position), name: this.#programs[at] };
  }

  /** Ends this process's hold. */
  close(): void {
    addon().closePrograms(this.#number);
  }
}
