{
  "targets": [
    {
      "target_name": "starling_net",
      "sources": ["balancer.cc", "binding.cc", "conntrack.cc", "exchange.cc", "job.cc", "netlink.cc", "nft.cc", "ping.cc"],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include\")"],
      "cflags_cc": ["-std=c++20", "-O2", "-Wall", "-Wextra"],
      "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20"],
      "defines": ["NAPI_VERSION=9", "NAPI_CPP_EXCEPTIONS"],
      "libraries": ["-ldl"]
    },
    {
      "target_name": "balancer_programs",
      "type": "none",
      "actions": [
        {
          "action_name": "balancer_programs",
          "inputs": ["balancer.bpf.c"],
          "outputs": ["<(PRODUCT_DIR)/balancer.bpf.o"],
          # The kernel's headers want asm/types.h, which Debian keeps by architecture.
          "action": ["clang", "-O2", "-g", "-Wall", "-target", "bpf", "-I/usr/include/<!(uname -m)-linux-gnu", "-c", "balancer.bpf.c", "-o", "<(PRODUCT_DIR)/balancer.bpf.o"]
        }
      ]
    }
  ]
}
