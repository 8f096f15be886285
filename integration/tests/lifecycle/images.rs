//! Images that come from registries and other programs.

use integration::shim::engine::{Release, image};
use integration::shim::pod::until;

use super::{Check, engine, hold};

#[test]
fn images_go_to_registries_and_come_back() {
    let Some(mut engine) = engine() else { return integration::skip::say("needs docker") };
    if Release::Distribution.find("docker-registry").is_none() {
        return integration::skip::say("needs docker-registry");
    }
    let dir = engine.directory.display().to_string();
    let config = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {dir}/registry\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:5000\n"
    );
    std::fs::write(engine.directory.join("registry.yml"), config).unwrap();
    let file = format!("{dir}/registry.yml");
    engine.daemon("docker-registry", &["docker-registry", "serve", &file]);
    until("the registry answers", || {
        engine.run(&["sh", "-c", "busybox wget -qO- http://127.0.0.1:5000/v2/"]).status == 0
    });
    let archive = image("docker-archive").display().to_string();
    let copy = format!(
        "skopeo copy -q --dest-tls-verify=false --format oci docker-archive:{archive} docker://127.0.0.1:5000/oci/app:2"
    );
    let digest = "skopeo inspect --tls-verify=false -f '{{.Digest}}' docker://127.0.0.1:5000/oci/app:2";
    let by_digest = format!("docker pull 127.0.0.1:5000/oci/app@$({digest}) && docker images --digests");
    // A layer of the registry's that is not what its name says.
    let spoil = format!(
        "cd {dir}/registry/docker/registry/v2/blobs/sha256; for f in */*/data; do if [ $(stat -c %s $f) -gt 100000 ]; then printf x | dd of=$f bs=1 seek=5000 conv=notrunc 2>/dev/null; fi; done"
    );
    let checks: &[Check<'_>] = &[
        (
            "docker tag busybox 127.0.0.1:5000/me/app:1 && docker push 127.0.0.1:5000/me/app:1",
            0,
            &["1: digest: sha256:"],
        ),
        ("docker push 127.0.0.1:5000/me/app:1", 0, &["Layer already exists"]),
        ("docker pull 127.0.0.1:5000/me/app:1", 0, &["Image is up to date"]),
        ("docker rmi -f busybox 127.0.0.1:5000/me/app:1 && docker images -aq | wc -l", 0, &["0"]),
        (
            "docker run --rm --network none 127.0.0.1:5000/me/app:1 echo pulled",
            0,
            &["Pull complete", "Downloaded newer image", "pulled"],
        ),
        ("docker rmi -f $(docker images -q)", 0, &["Deleted: sha256:"]),
        (&copy, 0, &[]),
        (
            "docker pull 127.0.0.1:5000/oci/app:2 && docker run --rm --network none 127.0.0.1:5000/oci/app:2 echo oci",
            0,
            &["oci"],
        ),
        (&by_digest, 0, &["127.0.0.1:5000/oci/app", "sha256:"]),
        ("docker pull 127.0.0.1:5000/no/such", 1, &["not found"]),
        ("docker pull 127.0.0.1:5001/no/server", 1, &["refused"]),
        ("docker pull Bad/name", 1, &["invalid reference format"]),
        ("docker push 127.0.0.1:5000/not/here", 1, &["does not exist locally"]),
        ("docker rmi -f $(docker images -q)", 0, &[]),
        (&spoil, 0, &[]),
        ("docker pull 127.0.0.1:5000/oci/app:2; docker images -q | wc -l", 0, &["expected sha256:", "0"]),
    ];
    hold(&engine, checks);
}
