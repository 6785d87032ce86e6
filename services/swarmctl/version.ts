/** Pure: no clock, no I/O, no randomness. */

export const version = "0.1.0";
