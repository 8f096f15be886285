//! A registry that leaves it to a server of tokens who may do what.

use integration::shim::engine::Release;
use integration::shim::pod::until;
use integration::skip;

use super::images::registry;
use super::{Check, engine, hold, python};

/// The server of tokens: `me` with the password `secret` may do all, everybody may pull `open/…`, and
/// is told nothing of `hidden/…`. What it signs names its certificate (RFC 7515, `x5c`).
const SERVER: &str = r#"
import base64, json, os, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
os.chdir(sys.argv[1])
def text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")
CHAIN = ["".join(open("cert.pem").read().split("-----")[2].split())]
class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        query, known = parse_qs(urlsplit(self.path).query), self.headers.get("Authorization")
        if known and base64.b64decode(known.split()[1]) != b"me:secret":
            return self.send_error(401)
        if not known and "hidden" in self.path:
            return self.send_error(403)
        access = []
        for scope in query.get("scope", []):
            kind, name, actions = scope.split(":")
            may = [one for one in actions.split(",") if known or one == "pull" and name.startswith("open/")]
            access.append({"type": kind, "name": name, "actions": may})
        now = int(time.time())
        head = {"typ": "JWT", "alg": "RS256", "x5c": CHAIN}
        claims = {"iss": "tokens", "sub": "me" if known else "", "aud": query["service"][0], "exp": now + 300,
            "nbf": now - 600, "iat": now - 600, "jti": "1", "access": access}
        signed = b".".join(text(json.dumps(part).encode()) for part in (head, claims))
        command = ["openssl", "dgst", "-sha256", "-sign", "key.pem"]
        signature = subprocess.run(command, input=signed, stdout=subprocess.PIPE, check=True).stdout
        answer = json.dumps({"token": (signed + b"." + text(signature)).decode()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
ThreadingHTTPServer(("127.0.0.1", 5007), Server).serve_forever()
"#;

const AUTH: &str = "auth:\n  token:\n    realm: http://127.0.0.1:5007/token\n    service: here\n    issuer: tokens\n    rootcertbundle: DIR/cert.pem\n";

/// A client that has remembered a wrong password.
const WRONG: &str =
    r#"printf '{"auths": {"127.0.0.1:5000": {"auth": "%s"}}}' $(printf me:wrong | base64) > config.json"#;

#[test]
fn tokens_say_who_may_do_what() {
    let Some(mut engine) = engine() else { return skip::say("needs docker") };
    if Release::Distribution.find("docker-registry").is_none() {
        return skip::say("needs docker-registry");
    }
    engine
        .docker_command("openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=tokens")
        .ok();
    let dir = engine.directory.display().to_string();
    std::fs::write(engine.directory.join("tokens.py"), SERVER).unwrap();
    python(&mut engine, "tokens", &[&format!("{dir}/tokens.py"), &dir]);
    registry(&mut engine, &AUTH.replace("DIR", &dir));
    until("both answer", || {
        let script = "curl -s 'http://127.0.0.1:5007/token?service=here' | grep token && curl -s http://127.0.0.1:5000/v2/ | grep UNAUTHORIZED";
        engine.docker_command(script).status == 0
    });
    let push = "for name in open/app closed/app; do docker tag busybox 127.0.0.1:5000/$name:1; docker push -q 127.0.0.1:5000/$name:1 || exit; done";
    let fresh = "docker rmi -f $(docker images -q)";
    let run = "docker run --rm --network none 127.0.0.1:5000";
    let open = format!("{run}/open/app:1 echo pulled");
    let closed = format!("{run}/closed/app:1 echo pulled");
    let checks: &[Check<'_>] = &[
        (push, 1, &["denied: requested access to the resource is denied"]),
        ("echo wrong | docker login -u me --password-stdin 127.0.0.1:5000", 1, &[WRONG_PASSWORD]),
        ("echo secret | docker login -u me --password-stdin 127.0.0.1:5000", 0, &["Login Succeeded"]),
        (push, 0, &["127.0.0.1:5000/closed/app:1"]),
        (fresh, 0, &[]),
        (&closed, 0, &["pulled"]),
        (fresh, 0, &[]),
        ("docker logout 127.0.0.1:5000", 0, &[]),
        // Without a name.
        (&open, 0, &["pulled"]),
        (
            "docker push -q 127.0.0.1:5000/open/app:1",
            1,
            &["denied: requested access to the resource is denied"],
        ),
        (fresh, 0, &[]),
        (&closed, 125, &["denied: requested access to the resource is denied"]),
        (
            "docker pull 127.0.0.1:5000/hidden/app:1",
            1,
            &["unauthorized: authentication required (403 Forbidden)"],
        ),
        (WRONG, 0, &[]),
        (&open, 125, &[WRONG_PASSWORD]),
    ];
    hold(&engine, checks);
    assert_eq!(engine.docker_command("docker images -aq; ls -A data/tmp").out, "");
}

const WRONG_PASSWORD: &str = "unauthorized: incorrect username or password (401 Unauthorized)";
