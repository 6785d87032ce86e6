export { type BuiltImage, buildImages } from "./build.ts";
export { ensureImages, imagesAt, type PushedImage, type PushedImages } from "./push.ts";
export type { ImageName } from "./recipes.ts";
export { type Registry, startRegistry } from "./registry.ts";
