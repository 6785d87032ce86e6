import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { DeviceOption, IoLimitOption } from "@starling/api";
import type { BundleDevice, DeviceRule, IoLimit } from "@starling/native";
import { FatalTaskError } from "../exec/controller.ts";

/** Device nodes for a container, and what it may do with them. */
export interface HostDevices {
  readonly devices: readonly BundleDevice[];
  readonly rules: readonly DeviceRule[];
}

/** Everything of every kind: for privileged containers. */
export const allDevicesRule: DeviceRule = { type: "a", major: -1, minor: -1, access: "rwm" };

/** Folders of /dev that a container has of its own. */
const ownFolders = new Set(["pts", "shm", "mqueue", "fd"]);

/** Those of the host that `options` name; a folder stands for all devices below it. Throws FatalTaskError. */
export async function hostDevices(options: readonly Extract<DeviceOption, { kind: "path" }>[]): Promise<HostDevices> {
  const devices: BundleDevice[] = [];
  const rules: DeviceRule[] = [];
  for (const { source, target, access } of options) {
    const found = await devicesAt(source, target);
    if (found.length === 0) throw new FatalTaskError(`device ${source}: is no device on this node`);
    devices.push(...found);
    rules.push(...found.map(({ type, major, minor }) => ({ type, major, minor, access })));
  }
  return { devices, rules };
}

/** All devices below /dev, for privileged containers. */
export function allDevices(): Promise<readonly BundleDevice[]> {
  return devicesBelow("/dev", "/dev");
}

/** Rates joined by device; partitions count as themselves. Throws FatalTaskError. */
export async function ioLimitsOf(options: readonly IoLimitOption[]): Promise<readonly IoLimit[]> {
  const byDevice = new Map<string, IoLimit>();
  for (const { path, what, rate } of options) {
    const [device] = await devicesAt(path, path);
    if (device?.type !== "b")
      throw new FatalTaskError(`${path}: is no block device on this node, so it has no I/O limit`);
    const { major, minor } = device;
    const key = `${major}:${minor}`;
    byDevice.set(key, { ...(byDevice.get(key) ?? { major, minor }), [what]: rate });
  }
  return [...byDevice.values()];
}

/** The device at `source`, or all below that folder, as they shall be at `target`. Empty when there is none. */
export async function devicesAt(source: string, target: string): Promise<readonly BundleDevice[]> {
  const info = await stat(source).catch(() => undefined);
  if (info === undefined) return [];
  if (info.isDirectory()) return devicesBelow(source, target);
  if (!info.isBlockDevice() && !info.isCharacterDevice()) return [];
  return [
    {
      path: target,
      type: info.isBlockDevice() ? "b" : "c",
      // glibc's makedev: 12 bits of major and 20 of minor are what the kernel has.
      major: (info.rdev >> 8) & 0xfff,
      minor: (info.rdev & 0xff) | ((info.rdev >> 12) & 0xfff00),
      mode: info.mode & 0o777,
      uid: info.uid,
      gid: info.gid,
    },
  ];
}

async function devicesBelow(source: string, target: string): Promise<readonly BundleDevice[]> {
  const entries = await readdir(source, { withFileTypes: true }).catch(() => []);
  const found = await Promise.all(
    entries.map(async (entry) => {
      const [from, to] = [join(source, entry.name), join(target, entry.name)];
      if (entry.isDirectory()) return ownFolders.has(entry.name) ? [] : devicesBelow(from, to);
      return entry.isBlockDevice() || entry.isCharacterDevice() ? devicesAt(from, to) : [];
    }),
  );
  return found.flat();
}
