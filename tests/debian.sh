#!/bin/sh
# Installs the Debian packages that some tests use, where this may be done; otherwise says which tests skip.
# postfix, dovecot-imapd: real mail servers. libpdfbox2-java and what it needs (a Java compiler too): independent PDF/A-1b
# checker. unzip: independent zip reader. xmlsec1, opensaml-schemas, xmltooling-schemas: independent checks of assertions.
set -u
packages="postfix dovecot-imapd libpdfbox2-java libactivation-java libjaxb-api-java unzip xmlsec1 opensaml-schemas xmltooling-schemas"
command -v javac >/dev/null 2>&1 || packages="$packages default-jdk-headless"
missing=""
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    # policy-rc.d: a test machine needs the programs, not the services that their packages would start
    created=""
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d && created=yes
    fi
    echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
    if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >/tmp/pfiflow-apt.log 2>&1; then
        echo "could not install$missing (see /tmp/pfiflow-apt.log); the tests that need them will skip and say so"
    fi
    [ -n "$created" ] && rm -f /usr/sbin/policy-rc.d
else
    echo "not installed:$missing. Tests that use them (real Postfix and Dovecot, PDF/A checker, unzip) will skip and say so."
    echo "To run them all: sudo apt-get install$missing"
fi
exit 0
