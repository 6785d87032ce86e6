{
  "variables": { "sanitize%": 0 },
  "target_defaults": {
    "cflags!": ["-O3", "-fno-omit-frame-pointer"],
    "cflags": ["-Os", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-ffunction-sections", "-fdata-sections"],
    "cflags_cc!": ["-std=gnu++20", "-std=gnu++17", "-O3"],
    "cflags_cc": ["-std=c++20", "-fno-exceptions", "-fno-rtti"],
    # Static: a shim maps no libraries, so dozens of them share one text and touch few pages each.
    "ldflags": ["-static", "-Wl,--gc-sections", "-s"],
    "ldflags!": ["-rdynamic"],
  },
  "targets": [
    {
      "target_name": "starling_runtime",
      "type": "static_library",
      "standalone_static_library": 0,
      "sources": [
        "base/json.cc",
        "base/json_reader.cc",
        "cgroup/cgroup.cc",
        "cgroup/devices.cc",
        "cgroup/paths.cc",
        "rootfs/kernel_mounts.cc",
        "rootfs/rootfs.cc",
        "runtime/capabilities.cc",
        "runtime/container.cc",
        "runtime/init.cc",
        "runtime/process.cc",
        "runtime/seccomp.cc",
        "runtime/spec.cc",
        "runtime/sync_socket.cc",
        "runtime/user.cc",
        "sys/fs.cc",
      ],
    },
    {
      "target_name": "starling-shim",
      "type": "executable",
      "dependencies": ["starling_runtime"],
      "sources": ["shim/clients.cc", "shim/log_writer.cc", "shim/main.cc", "shim/operations.cc", "shim/shim.cc"],
    },
    {
      "target_name": "starling-run",
      "type": "executable",
      "dependencies": ["starling_runtime"],
      "sources": ["tools/starling_run.cc"],
    },
  ],
}
