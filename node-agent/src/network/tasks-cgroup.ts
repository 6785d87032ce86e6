/** Pure: no clock, no I/O, no randomness. */

/**
 * Folder of the group in cgroup v2 that all containers of this node are below, and what an operator starts in their networks, too: the
 * root when swarmd is a systemd unit or containers have a place of their own (`parent`), else the parent of swarmd's own group.
 * Undefined without cgroup v2. Takes the texts of /proc/self/mountinfo and /proc/self/cgroup.
 */
export function tasksCgroup(mountinfo: string, selfCgroup: string, parent?: string): string | undefined {
  const mount = /^\S+ \S+ \S+ (\S+) (\S+) .*? - cgroup2 /m.exec(mountinfo);
  const own = /^0::(\/.*)$/m.exec(selfCgroup)?.[1];
  if (mount === null || own === undefined) return undefined;
  const [, root = "/", point = ""] = mount;
  if (parent !== undefined || /\.(service|scope)$/.test(own)) return point;
  const above = own.slice(0, own.lastIndexOf("/"));
  const shown = root === "/" ? "" : root;
  // A group that the mount does not show counts as what it does show.
  return above.startsWith(`${shown}/`) ? point + above.slice(shown.length) : point;
}
