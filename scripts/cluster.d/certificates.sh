# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Who is who in the cluster: an authority of its own, a certificate for everybody who speaks to the API server, and the kubeconfig
# with it. What each may do is said by RBAC: Kubernetes' own roles go by these names and groups, vmlane's stand in objects/.

CERTIFICATE_DAYS=30

# openssl says much on standard error when all is well; it is shown when it is not.
quietly() {
  local output
  output=$("$@" 2>&1) || die "\"$*\" failed: $output"
}

make_authority() {
  mkdir -p "$PKI"
  chmod 700 "$PKI"
  quietly openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256 -days "$CERTIFICATE_DAYS" \
    -subj /CN=vmlane-cluster -keyout "$PKI/ca.key" -out "$PKI/ca.crt" \
    -addext keyUsage=critical,keyCertSign,digitalSignature -addext subjectKeyIdentifier=hash
  quietly openssl genrsa -out "$PKI/service-accounts.key" 2048
  quietly openssl rsa -in "$PKI/service-accounts.key" -pubout -out "$PKI/service-accounts.pub"
}

# make_certificate NAME COMMON-NAME GROUP [ALTERNATIVE-NAMES]: $PKI/NAME.crt and .key, for clients and, with names, for servers.
# GROUP may be empty; names are as in "IP:192.0.2.1,DNS:a.example".
make_certificate() {
  local name=$1 subject=/CN=$2 extensions='extendedKeyUsage=clientAuth'
  [[ -z $3 ]] || subject=/O=$3$subject
  [[ -z ${4:-} ]] || extensions=$'extendedKeyUsage=clientAuth,serverAuth\nsubjectAltName='$4
  quietly openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$subject" -keyout "$PKI/$name.key" -out "$PKI/$name.csr"
  printf 'basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature,keyEncipherment\n%s\n' "$extensions" >"$PKI/$name.ext"
  quietly openssl x509 -req -in "$PKI/$name.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial -sha256 \
    -days "$CERTIFICATE_DAYS" -extfile "$PKI/$name.ext" -out "$PKI/$name.crt"
  rm "$PKI/$name.csr" "$PKI/$name.ext"
}

# write_kubeconfig NAME FILE: for the certificate of that name, with everything inside.
write_kubeconfig() {
  (umask 077 && cat >"$2") <<TEXT
apiVersion: v1
kind: Config
current-context: cluster
contexts:
- name: cluster
  context: {cluster: cluster, user: $1}
clusters:
- name: cluster
  cluster:
    server: $API_SERVER
    certificate-authority-data: $(base64 -w 0 "$PKI/ca.crt")
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w 0 "$PKI/$1.crt")
    client-key-data: $(base64 -w 0 "$PKI/$1.key")
TEXT
}
