#!/bin/sh
# certs.sh DIR - makes what the tests of TLS need, with the openssl command: a CA, certificates of servers and
# clients, and some that are wrong. The keys are worthless: they live as long as the folder does.
set -eu
dir=$1
mkdir -p "$dir"
cd "$dir"

# key NAME [rsa]
key()
{
    if [ "${2:-}" = rsa ]; then
        openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$1.key" 2>/dev/null ||
            openssl genrsa -out "$1.key" 2048 2>/dev/null
    else
        openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
    fi
}

# authority NAME SUBJECT
authority()
{
    key "$1"
    openssl req -x509 -new -key "$1.key" -sha256 -days 30 -subj "$2" -out "$1.pem" \
        -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign
    book "$1"
}

# book NAME: what `openssl ca` needs of the authority
book()
{
    : >"$1.index"
    echo 1000 >"$1.serial"
    cat >"$1.cnf" <<END
[ca]
default_ca = this
[this]
database = $1.index
serial = $1.serial
new_certs_dir = .
certificate = $1.pem
private_key = $1.key
default_md = sha256
default_crl_days = 30
policy = any
unique_subject = no
preserve = yes
[any]
commonName = optional
organizationName = optional
countryName = optional
END
}

# certificate NAME CA SUBJECT EXTENSIONS [-startdate D -enddate D]: with NAME.key, which is there
certificate()
{
    name=$1 ca=$2 subject=$3 extensions=$4
    shift 4
    [ $# -gt 0 ] || set -- -days 30
    printf '%s\n' "$extensions" >"$name.ext"
    openssl req -utf8 -new -key "$name.key" -subj "$subject" -out "$name.csr"
    openssl ca -batch -notext -config "$ca.cnf" -in "$name.csr" -out "$name.pem" -extfile "$name.ext" "$@" \
        2>/dev/null
    rm -f "$name.csr" "$name.ext"
}

here='subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1'
authority ca '/CN=Test CA/O=Leveret tests'
authority other '/CN=Other CA/O=Leveret tests'

for name in server sni client revoked expired future odd trick; do key "$name"; done
key rsa rsa
openssl genrsa -out weak.key 1024 2>/dev/null
certificate server ca '/CN=localhost/O=Leveret tests' "$here"
certificate rsa ca '/CN=localhost/O=Leveret tests' "$here"
certificate weak ca '/CN=localhost/O=Leveret tests' "$here"
certificate sni ca '/CN=broker.example.com' 'subjectAltName = DNS:broker.example.com, DNS:*.wild.example.com'
certificate expired ca '/CN=localhost' "$here" -startdate 20200101000000Z -enddate 20210101000000Z
certificate future ca '/CN=localhost' "$here" -startdate 20450101000000Z -enddate 20460101000000Z
certificate client ca '/CN=guest/O=Leveret tests' \
    'subjectAltName = DNS:client.example.com, email:guest@example.com, IP:192.0.2.7, URI:urn:leveret:client'
certificate odd ca '/C=DE/O=Hase, Igel \& Co/CN=första/CN=zweite' 'subjectAltName = DNS:odd.example.com'
# One name that looks like two when they are put side by side.
certificate trick ca '/O=Leveret tests,CN=guest' 'subjectAltName = email:guest@example.com.example.org'
certificate revoked ca '/CN=revoked' 'extendedKeyUsage = clientAuth'
key stranger && certificate stranger other '/CN=guest' 'extendedKeyUsage = clientAuth'
key late && certificate late ca '/CN=guest' 'extendedKeyUsage = clientAuth' \
    -startdate 20200101000000Z -enddate 20210101000000Z

# Servers of https: one below two authorities more, one for any name below another, one that was revoked.
issuing=$(printf 'basicConstraints = critical,CA:true\nkeyUsage = critical,keyCertSign,cRLSign')
for name in middle lower deep wild gone; do key "$name"; done
certificate middle ca '/CN=Middle CA' "$issuing" && book middle
certificate lower middle '/CN=Lower CA' "$issuing" && book lower
certificate deep lower '/CN=localhost' "$here"
cat lower.pem middle.pem >>deep.pem
certificate wild ca '/CN=any' 'subjectAltName = DNS:*.wild.localhost'
certificate gone ca '/CN=localhost' "$here"

openssl ca -config ca.cnf -gencrl -out empty.crl 2>/dev/null
openssl ca -config ca.cnf -revoke revoked.pem 2>/dev/null
openssl ca -config ca.cnf -revoke gone.pem 2>/dev/null
for name in middle lower; do openssl ca -config $name.cnf -gencrl -out $name.crl 2>/dev/null; done
openssl ca -config ca.cnf -gencrl -out ca.crl 2>/dev/null
openssl ec -in server.key -aes256 -passout pass:secret -out locked.key 2>/dev/null
cat ca.crl middle.crl lower.crl >all.crl
echo 'this is no PEM' >garbage.pem
