export { type ProgramResult, runProgram, trimMemory } from "./binding/index.ts";
export {
  type BundleDevice,
  type BundleMount,
  type BundleSpec,
  type DeviceRule,
  type ExitStatus,
  type HostNamespace,
  type IdMapping,
  type IdMaps,
  type IoLimit,
  type LogSinkSpec,
  type ProcessSpec,
  readExitStatus,
  readShimState,
} from "./bundle.ts";
export { nativeTool } from "./paths.ts";
export {
  createContainer,
  type ExecResult,
  killLeftovers,
  Shim,
  ShimError,
  type ShimState,
  type ShimStats,
} from "./shim.ts";
export { attachToContainer, type ProgramOutput, ShimStream, startProgram } from "./shim-stream.ts";
export { type Feed, UnpackError, type UnpackedLayer, type UnpackOptions, unpackLayer } from "./unpack.ts";
