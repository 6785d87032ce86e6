export { displayName, RegistryClient, readLimited } from "./client.ts";
export { parseRegistryAuth, type RegistryCredentials } from "./credentials.ts";
export { chainIdOf, digestOf, hexOf } from "./digest.ts";
export {
  BadImageError,
  choosePlatform,
  configPlatform,
  type Descriptor,
  type ImageConfig,
  type Manifest,
  manifestTypes,
  type Platform,
  parseImageConfig,
  parseManifest,
  platformNames,
} from "./manifest.ts";
export { type ResolvedImage, resolveImage } from "./resolve.ts";
export { defaultRegistrySettings, parseRegistrySettings, type RegistrySettings } from "./settings.ts";
