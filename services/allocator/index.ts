export { type AllocatorOptions, createAllocator } from "./allocator.ts";
export { ingressNetwork } from "./ingress-network.ts";
export { isAllocatedNetwork, vniOf } from "./ledger.ts";
