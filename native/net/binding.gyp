{
  "targets": [
    {
      "target_name": "starling_net",
      "sources": ["balancer.cc", "binding.cc", "bpf.cc", "conntrack.cc", "device_programs.cc", "exchange.cc", "job.cc", "netlink.cc", "nft.cc", "ping.cc"],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include\")"],
      "cflags_cc": ["-std=c++20", "-O2", "-Wall", "-Wextra"],
      "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20"],
      "defines": ["NAPI_VERSION=9", "NAPI_CPP_EXCEPTIONS"],
      "libraries": ["-ldl"]
    },
    {
      "target_name": "bpf_programs",
      "type": "none",
      # The kernel's headers want asm/types.h, which Debian keeps by architecture.
      "variables": {"clang": ["clang", "-O2", "-g", "-Wall", "-target", "bpf", "-I/usr/include/<!(uname -m)-linux-gnu", "-c"]},
      "actions": [
        {
          "action_name": "balancer",
          "inputs": ["balancer.bpf.c"],
          "outputs": ["<(PRODUCT_DIR)/balancer.bpf.o"],
          "action": ["<@(clang)", "balancer.bpf.c", "-o", "<(PRODUCT_DIR)/balancer.bpf.o"]
        },
        {
          "action_name": "frames",
          "inputs": ["frames.bpf.c"],
          "outputs": ["<(PRODUCT_DIR)/frames.bpf.o"],
          "action": ["<@(clang)", "frames.bpf.c", "-o", "<(PRODUCT_DIR)/frames.bpf.o"]
        },
        {
          "action_name": "mesh",
          "inputs": ["mesh.bpf.c"],
          "outputs": ["<(PRODUCT_DIR)/mesh.bpf.o"],
          "action": ["<@(clang)", "mesh.bpf.c", "-o", "<(PRODUCT_DIR)/mesh.bpf.o"]
        }
      ]
    }
  ]
}
