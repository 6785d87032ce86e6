export { validateAnnotations, validateFileObjectAnnotations } from "./annotations.ts";
export { validateClusterSpec } from "./cluster.ts";
export { configBytesMax, secretBytesMax, validateConfigSpec, validateSecretSpec } from "./file-objects.ts";
export { validateNetworkSpec } from "./network.ts";
export { validateNodeSpec } from "./node.ts";
export { refuse, required } from "./refuse.ts";
export { validateServiceSpec } from "./service.ts";
export { validateTaskSpec } from "./task-spec.ts";
export { validateVolumeSpec } from "./volume.ts";
