{
  "targets": [
    {
      "target_name": "imgfs",
      "sources": [
        "src/addon.cc",
        "src/fuse-module.cc",
        "src/gzip-decoder.cc",
        "src/layer-indexer.cc",
        "src/layer-module.cc",
        "src/span-reader.cc",
        "src/tar-parser.cc",
        "src/zstd-decoder.cc"
      ],
      "defines": ["NAPI_VERSION=8", "_FILE_OFFSET_BITS=64"],
      "cflags_cc": [
        "-std=c++17",
        "-O2",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        "-Wno-missing-field-initializers",
        "-Wno-cast-function-type"
      ],
      "ldflags": ["-Wl,-z,relro,-z,now"]
    }
  ]
}
