/** Pure: no clock, no I/O, no randomness. */

/** Carries frames of overlay networks between tasks' devices and VXLAN past the bridge (frames.bpf.c). */
export const frameObject = {
  name: "frames",
  maps: {
    ports: { number: 0, keySize: 12, valueSize: 4 },
    vxlans: { number: 1, keySize: 4, valueSize: 4 },
  },
  programs: { task: "starling_from_task", vxlan: "starling_from_vxlan" },
} as const;
