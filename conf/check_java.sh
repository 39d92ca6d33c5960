#!/bin/sh
# Is there a Java that Spark runs on? Says how to get one if not.
set -u
java="${JAVA_HOME:+$JAVA_HOME/bin/}java"
hint="Hint: Debian and Ubuntu: sudo apt-get install openjdk-17-jre-headless; Fedora: sudo dnf install java-17-openjdk-headless; macOS: brew install openjdk@17."
if ! version=$("$java" -version 2>&1); then
    echo "sparkq needs Java 17 or later for Spark; '$java' does not run." >&2
    echo "$hint" >&2
    exit 1
fi
# openjdk version "17.0.15" 2025-04-15; Java 8 calls itself "1.8".
major=$(printf '%s\n' "$version" | sed -nE 's/.*version "([0-9]+)[."].*/\1/p' | head -n 1)
if [ "${major:-0}" -lt 17 ]; then
    echo "sparkq needs Java 17 or later for Spark; '$java' is $(printf '%s\n' "$version" | head -n 1)." >&2
    echo "$hint" >&2
    exit 1
fi
