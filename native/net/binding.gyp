{
  "targets": [
    {
      "target_name": "starling_net",
      "sources": ["binding.cc", "conntrack.cc", "exchange.cc", "job.cc", "netlink.cc", "nft.cc", "ping.cc"],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include\")"],
      "cflags_cc": ["-std=c++20", "-O2", "-Wall", "-Wextra"],
      "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20"],
      "defines": ["NAPI_VERSION=9", "NAPI_CPP_EXCEPTIONS"],
      "libraries": ["-ldl"]
    }
  ]
}
