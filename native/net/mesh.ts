/** Pure: no clock, no I/O, no randomness. */

/** Carries segments of established connections of the routing mesh past the host's IP layer (mesh.bpf.c). */
export const meshObject = {
  name: "mesh",
  maps: {
    mesh: { number: 0, keySize: 4, valueSize: 16 },
    far: { number: 1, keySize: 4, valueSize: 4 },
    near: { number: 2, keySize: 4, valueSize: 4 },
    owners: { number: 3, keySize: 4, valueSize: 4 },
    nodes: { number: 4, keySize: 4, valueSize: 4 },
    cards: { number: 5, keySize: 4, valueSize: 4 },
  },
  programs: { card: "starling_from_card", mesh: "starling_from_mesh", routed: "starling_from_routed" },
} as const;
