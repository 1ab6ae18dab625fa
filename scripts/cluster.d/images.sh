# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The images of the cluster, made of Debian's busybox: what pods run, and what containerd holds a pod's namespaces with. There is
# no registry; each node's containerd imports the archives.

# make_image NAME ARCHIVE COMMAND [ARGUMENT...]: an archive as "docker save" makes it, of one layer with busybox under all its names.
# The same busybox makes the same archive.
make_image() {
  local name=$1 archive=$2 work arguments digest applet
  shift 2
  work=$(mktemp -d "$CACHE/image.XXXXXX")
  mkdir -p "$work"/root/{bin,etc,tmp,proc,sys,dev,root,www} "$work/image"
  chmod 755 "$work/root"
  chmod 1777 "$work/root/tmp"
  install -m 755 "$(command -v busybox)" "$work/root/bin/busybox"
  for applet in $(busybox --list); do [[ $applet == busybox ]] || ln -s busybox "$work/root/bin/$applet"; done
  echo 'root:x:0:0:root:/root:/bin/sh' >"$work/root/etc/passwd"
  echo 'root:x:0:' >"$work/root/etc/group"
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$work/root" -cf "$work/image/layer.tar" .
  digest=$(sha256sum "$work/image/layer.tar" | cut -d' ' -f1)
  arguments=$(printf '%s\n' "$@" | jq -R . | jq -cs .)
  jq -cn --arg digest "sha256:$digest" --argjson command "$arguments" \
    '{architecture: "amd64", os: "linux", created: "1970-01-01T00:00:00Z", rootfs: {type: "layers", diff_ids: [$digest]},
      config: {Env: ["PATH=/bin"], Cmd: $command}}' >"$work/image/config.json"
  jq -cn --arg name "$name" '[{Config: "config.json", RepoTags: [$name], Layers: ["layer.tar"]}]' >"$work/image/manifest.json"
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$work/image" -cf "$archive.new" manifest.json config.json layer.tar
  mv "$archive.new" "$archive"
  rm -rf "$work"
}

# Made anew when Debian's busybox or this file is newer.
ensure_images() {
  local busybox archive
  busybox=$(command -v busybox) || die 'there is no busybox: run scripts/setup'
  mkdir -p "$CACHE/images"
  for archive in busybox pause; do
    archive=$CACHE/images/$archive.tar
    [[ ! $archive -nt $busybox || ! $archive -nt ${BASH_SOURCE[0]} ]] || continue
    case $archive in
      */busybox.tar) make_image "$PODS_IMAGE" "$archive" /bin/sh ;;
      */pause.tar) make_image "$PAUSE_IMAGE" "$archive" /bin/sleep infinity ;;
    esac
  done
}
