{
  "targets": [
    {
      "target_name": "imgfs",
      "sources": [
        "src/addon.cc",
        "src/archive-module.cc",
        "src/bytes.cc",
        "src/fuse/attributes.cc",
        "src/fuse/binding.cc",
        "src/fuse/binding-answers.cc",
        "src/fuse/binding-jobs.cc",
        "src/fuse/binding-mount.cc",
        "src/fuse/napi-values.cc",
        "src/fuse/device.cc",
        "src/fuse/inode-table.cc",
        "src/fuse/interrupt.cc",
        "src/fuse/listing.cc",
        "src/fuse/mount.cc",
        "src/fuse/pending.cc",
        "src/fuse/range-set.cc",
        "src/fuse/request.cc",
        "src/fuse/server-change.cc",
        "src/fuse/server-directory.cc",
        "src/fuse/server-entry.cc",
        "src/fuse/server-open.cc",
        "src/fuse/server-read.cc",
        "src/fuse/server.cc",
        "src/fuse/session.cc",
        "src/gzip-decoder.cc",
        "src/layer-indexer.cc",
        "src/layer-module.cc",
        "src/punch-holes.cc",
        "src/span-reader.cc",
        "src/tar/entry.cc",
        "src/tar/header.cc",
        "src/tar/header-walk.cc",
        "src/tar/parser-state.cc",
        "src/tar/parser.cc",
        "src/tar/pax.cc",
        "src/tar/sparse.cc",
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
    },
    {
      "target_name": "imgfs-watchdog",
      "type": "executable",
      "sources": ["src/fuse/watchdog.cc"],
      "cflags_cc": ["-std=c++17", "-Os", "-Wall", "-Wextra"]
    }
  ]
}
