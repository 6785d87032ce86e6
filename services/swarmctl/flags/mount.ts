/** Pure: no clock, no I/O, no randomness. */

import {
  Driver,
  Mount,
  Mount_BindOptions,
  Mount_BindOptions_Propagation,
  Mount_Consistency,
  Mount_TmpfsOptions,
  Mount_Type,
  Mount_VolumeOptions,
} from "@starling/api";
import { UsageError } from "../usage-error.ts";
import { choose, parseBytes, parsePairs, splitCommas } from "./values.ts";

const types = choose({
  bind: Mount_Type.BIND,
  volume: Mount_Type.VOLUME,
  tmpfs: Mount_Type.TMPFS,
  npipe: Mount_Type.NPIPE,
  cluster: Mount_Type.CLUSTER,
});
const consistencies = choose({
  default: Mount_Consistency.DEFAULT,
  consistent: Mount_Consistency.CONSISTENT,
  cached: Mount_Consistency.CACHED,
  delegated: Mount_Consistency.DELEGATED,
});
/** What becomes of mounts below the source of a bind mount, in Docker's words. */
const recursions = choose<Partial<Mount_BindOptions>>({
  enabled: {},
  disabled: { nonrecursive: true },
  writable: { readonlynonrecursive: true },
  readonly: { readonlyforcerecursive: true },
});
const propagations = choose({
  rprivate: Mount_BindOptions_Propagation.RPRIVATE,
  private: Mount_BindOptions_Propagation.PRIVATE,
  rshared: Mount_BindOptions_Propagation.RSHARED,
  shared: Mount_BindOptions_Propagation.SHARED,
  rslave: Mount_BindOptions_Propagation.RSLAVE,
  slave: Mount_BindOptions_Propagation.SLAVE,
});

/** `--mount type=bind,source=/a,target=/b,readonly`: Docker's long form. */
export function parseMount(text: string): Mount {
  let mount = Mount.create({ type: Mount_Type.VOLUME });
  for (const part of splitCommas(text)) {
    const at = part.indexOf("=");
    const key = (at < 0 ? part : part.slice(0, at)).trim().toLowerCase();
    const value = at < 0 ? undefined : part.slice(at + 1);
    mount = withOption(mount, key, value, text);
  }
  if (mount.target === "") throw malformed(text, "target=PATH is missing");
  return mount;
}

function withOption(mount: Mount, key: string, value: string | undefined, text: string): Mount {
  const given = () => {
    if (value === undefined || value === "") throw malformed(text, `${key}= needs a value`);
    return value;
  };
  const flag = () => choose({ true: true, "1": true, false: false, "0": false })(value ?? "true");
  const bind = () => mount.bindOptions ?? Mount_BindOptions.create();
  const volume = () => mount.volumeOptions ?? Mount_VolumeOptions.create();
  const tmpfs = () => mount.tmpfsOptions ?? Mount_TmpfsOptions.create();
  switch (key) {
    case "type":
      return { ...mount, type: types(given()) };
    case "source":
    case "src":
      return { ...mount, source: given() };
    case "target":
    case "dst":
    case "destination":
      return { ...mount, target: given() };
    case "readonly":
    case "ro":
      return { ...mount, readonly: flag() };
    case "bind-propagation":
      return { ...mount, bindOptions: { ...bind(), propagation: propagations(given()) } };
    case "consistency":
      return { ...mount, consistency: consistencies(given()) };
    case "bind-create-src":
      return { ...mount, bindOptions: { ...bind(), createmountpoint: flag() } };
    case "bind-recursive":
      return { ...mount, bindOptions: { ...bind(), ...recursions(given()) } };
    case "bind-nonrecursive":
      return { ...mount, bindOptions: { ...bind(), nonrecursive: flag() } };
    case "volume-nocopy":
      return { ...mount, volumeOptions: { ...volume(), nocopy: flag() } };
    case "volume-subpath":
      return { ...mount, volumeOptions: { ...volume(), subpath: given() } };
    case "volume-label":
      return { ...mount, volumeOptions: { ...volume(), labels: { ...volume().labels, ...parsePairs([given()]) } } };
    case "volume-driver":
      return { ...mount, volumeOptions: { ...volume(), driverConfig: { ...driverOf(volume()), name: given() } } };
    case "volume-opt": {
      const { name, options } = driverOf(volume());
      const driverConfig = Driver.create({ name, options: { ...options, ...parsePairs([given()]) } });
      return { ...mount, volumeOptions: { ...volume(), driverConfig } };
    }
    case "tmpfs-size":
      return { ...mount, tmpfsOptions: { ...tmpfs(), sizeBytes: parseBytes(given()) } };
    case "tmpfs-mode":
      return { ...mount, tmpfsOptions: { ...tmpfs(), mode: parseMode(given(), text) } };
    default:
      throw malformed(text, `"${key}" is not a mount option`);
  }
}

function driverOf({ driverConfig }: Mount_VolumeOptions): Driver {
  return driverConfig ?? Driver.create();
}

/** What tmpfs(5) knows that is said as `key=value`, beside size and mode. */
const tmpfsValues = ["uid", "gid", "nr_inodes", "nr_blocks", "huge"];

/** SwarmKit's `--bind SRC:DST`, `--volume NAME:DST`, `--npipe SRC:DST`. */
export function parsePairMount(type: Mount_Type): (text: string) => Mount {
  return (text) => {
    const [source = "", target = "", ...more] = text.split(":");
    const option = more.shift();
    if (source === "" || target === "" || more.length > 0 || !["ro", "rw", undefined].includes(option)) {
      throw malformed(text, "write SOURCE:TARGET or SOURCE:TARGET:ro");
    }
    return Mount.create({ type, source, target, readonly: option === "ro" });
  };
}

/** `--tmpfs DST[:option,…]` with size=, mode=, ro, rw, and options of tmpfs, which the spec keeps as they are. */
export function parseTmpfs(text: string): Mount {
  const [target = "", options, ...more] = text.split(":");
  if (!target.startsWith("/") || more.length > 0) throw malformed(text, "write /PATH or /PATH:size=64m,mode=1777");
  let readonly = false;
  let tmpfs = Mount_TmpfsOptions.create();
  for (const option of options?.split(",") ?? []) {
    const [key = "", value = ""] = option.split("=");
    if (key === "size") tmpfs = { ...tmpfs, sizeBytes: parseBytes(value) };
    else if (key === "mode") tmpfs = { ...tmpfs, mode: parseMode(value, text) };
    else if (key === "ro" || key === "rw") readonly = key === "ro";
    else if (isTmpfsOption(key, value))
      tmpfs = { ...tmpfs, options: [tmpfs.options, option].filter(Boolean).join(",") };
    else
      throw malformed(
        text,
        `"${option}" is not one of size=, mode=, ro, rw, exec, noexec, uid=, gid=, nr_inodes=, huge=`,
      );
  }
  return Mount.create({ type: Mount_Type.TMPFS, target, readonly, ...(options ? { tmpfsOptions: tmpfs } : {}) });
}

function isTmpfsOption(key: string, value: string): boolean {
  return value === "" ? ["exec", "noexec", "nosuid", "nodev"].includes(key) : tmpfsValues.includes(key);
}

function parseMode(digits: string, text: string): number {
  if (!/^[0-7]{1,4}$/.test(digits)) throw malformed(text, `"${digits}" is not an octal mode such as 1777`);
  return Number.parseInt(digits, 8);
}

function malformed(text: string, why: string): UsageError {
  return new UsageError(`"${text}" is not a mount: ${why}`);
}
