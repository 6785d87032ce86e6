/** How many times slower than a common machine this one is, where that is known (STARLING_PACE): waits for it last as much longer. */
export const pace = Number(process.env["STARLING_PACE"] ?? 1);
