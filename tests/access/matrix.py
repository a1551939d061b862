"""THE authorization matrix, written by hand: what each caller hears for each operation on each kind of name.

Nothing here is derived from the code. Above the rule stand the operations to which a block applies, each with the
status of its success and the code of the 404 that says "you may, but it is not there". Below it stand the callers
(those of tests/access/parties.py), and a column for each kind of name:

  public    anonymous has `pull` on public/**       outside   does not exist, outside of acme
  private   acme/app-held0, with content            evil      acme-evil/app, which begins like the granted name
  missing   does not exist, but acme/* matches it   bare      acme, which acme/* does not match
                                                    deep      acme/app/deep, which acme/* does not match either

ok: the status of success. none: the 404 with the operation's own code. 401: UNAUTHORIZED. 403: DENIED, which only they
hear who may do something else there. 404: NAME_UNKNOWN, in the words for what does not exist. 405: UNSUPPORTED.
"""

READ = """
GET manifest by tag         200 MANIFEST_UNKNOWN
HEAD manifest by tag        200 MANIFEST_UNKNOWN
GET manifest by digest      200 MANIFEST_UNKNOWN
HEAD manifest by digest     200 MANIFEST_UNKNOWN
GET blob                    200 BLOB_UNKNOWN
HEAD blob                   200 BLOB_UNKNOWN
GET tags                    200 NAME_UNKNOWN
HEAD tags                   200 NAME_UNKNOWN
--------------------------- public private missing outside evil bare deep
anonymous stranger          ok     401     401     401     401  401  401
nobody                      ok     404     404     404     404  404  404
puller deleter owner        ok     ok      none    404     404  404  404
robot ci                    ok     ok      none    404     404  404  404
pusher creator              ok     403     403     404     404  404  404
neighbour                   ok     404     404     404     ok   404  404
root                        ok     ok      none    none    ok   ok   ok
disabled expired gone       401    401     401     401     401  401  401
stale                       ok     401     none    404     404  404  404
elsewhere                   401    401     401     404     404  404  404
"""

# A subject may come after its referrers, so what is missing has none: that is no error.
REFER = """
GET referrers               200 -
HEAD referrers              200 -
--------------------------- public private missing outside evil bare deep
anonymous stranger          ok     401     401     401     401  401  401
nobody                      ok     404     404     404     404  404  404
puller deleter owner        ok     ok      ok      404     404  404  404
robot ci                    ok     ok      ok      404     404  404  404
pusher creator              ok     403     403     404     404  404  404
neighbour                   ok     404     404     404     ok   404  404
root                        ok     ok      ok      ok      ok   ok   ok
disabled expired gone       401    401     401     401     401  401  401
stale                       ok     401     ok      404     404  404  404
elsewhere                   401    401     401     404     404  404  404
"""

# What sets no tag, or sets one that everybody who pushes may set, and no other points to.
PUSH = """
POST uploads                202 -
POST uploads with blob      201 -
POST mount from public      201 -
POST mount public anywhere  201 -
GET own session             204 -
HEAD own session            204 -
PATCH own session           202 -
PUT own session             201 -
DELETE own session          204 -
PUT manifest by digest      201 -
PUT manifest again digest   201 -
PUT manifest new ci tag     201 -
--------------------------- public private missing outside evil bare deep
anonymous stranger          401    401     401     401     401  401  401
nobody                      403    404     404     404     404  404  404
puller deleter              403    403     403     404     404  404  404
pusher creator owner        403    ok      ok      404     404  404  404
robot ci                    403    ok      ok      404     404  404  404
neighbour                   403    404     404     404     ok   404  404
root                        ok     ok      ok      ok      ok   ok   ok
disabled expired gone       401    401     401     401     401  401  401
stale                       403    401     ok      404     404  404  404
elsewhere                   403    401     401     404     404  404  404
"""

# Another's session, and one's own session of another repository, are not there for anybody.
OTHERS_SESSIONS = """
GET others session          204 BLOB_UPLOAD_UNKNOWN
HEAD others session         204 BLOB_UPLOAD_UNKNOWN
PATCH others session        202 BLOB_UPLOAD_UNKNOWN
PUT others session          201 BLOB_UPLOAD_UNKNOWN
DELETE others session       204 BLOB_UPLOAD_UNKNOWN
GET foreign session         204 BLOB_UPLOAD_UNKNOWN
HEAD foreign session        204 BLOB_UPLOAD_UNKNOWN
PATCH foreign session       202 BLOB_UPLOAD_UNKNOWN
PUT foreign session         201 BLOB_UPLOAD_UNKNOWN
DELETE foreign session      204 BLOB_UPLOAD_UNKNOWN
--------------------------- public private missing outside evil bare deep
anonymous stranger          401    401     401     401     401  401  401
nobody                      403    404     404     404     404  404  404
puller deleter              403    403     403     404     404  404  404
pusher creator owner        403    none    none    404     404  404  404
robot ci                    403    none    none    404     404  404  404
neighbour                   403    404     404     404     none 404  404
root                        none   none    none    none    none none none
disabled expired gone       401    401     401     401     401  401  401
stale                       403    401     none    404     404  404  404
elsewhere                   403    401     401     404     404  404  404
"""

# From the private repository, which only they may read who may pull. A push right alone opens no source.
MOUNT_PRIVATE = """
POST mount from private     - -
--------------------------- public private missing outside evil bare deep
anonymous stranger          401    401     401     401     401  401  401
nobody                      403    404     404     404     404  404  404
puller deleter              403    403     403     404     404  404  404
pusher creator              403    202     202     404     404  404  404
owner robot ci              403    201     201     404     404  404  404
neighbour                   403    404     404     404     202  404  404
root                        201    201     201     201     201  201  201
disabled expired gone       401    401     401     401     401  401  401
stale                       403    401     202     404     404  404  404
elsewhere                   403    401     401     404     404  404  404
"""

# From what only root may read, named and not named.
MOUNT_VAULT = """
POST mount from vault       - -
POST mount vault anywhere   - -
--------------------------- public private missing outside evil bare deep
anonymous stranger          401    401     401     401     401  401  401
nobody                      403    404     404     404     404  404  404
puller deleter              403    403     403     404     404  404  404
pusher creator owner        403    202     202     404     404  404  404
robot ci                    403    202     202     404     404  404  404
neighbour                   403    404     404     404     202  404  404
root                        201    201     201     201     201  201  201
disabled expired gone       401    401     401     401     401  401  401
stale                       403    401     202     404     404  404  404
elsewhere                   403    401     401     404     404  404  404
"""

# From what does not exist: as from what may not be read.
MOUNT_MISSING = """
POST mount from missing     202 -
--------------------------- public private missing outside evil bare deep
anonymous stranger          401    401     401     401     401  401  401
nobody                      403    404     404     404     404  404  404
puller deleter              403    403     403     404     404  404  404
pusher creator owner        403    ok      ok      404     404  404  404
robot ci                    403    ok      ok      404     404  404  404
neighbour                   403    404     404     404     ok   404  404
root                        ok     ok      ok      ok      ok   ok   ok
disabled expired gone       401    401     401     401     401  401  401
stale                       403    401     ok      404     404  404  404
elsewhere                   403    401     401     404     404  404  404
"""

# A tag that is not there: whoever may create, but the robot only ci-*. All or nothing with two tags, too.
NEW_TAG = """
PUT manifest new tag        201 -
PUT manifest query new      201 -
PUT manifest ci and new     201 -
--------------------------- public private missing outside evil bare deep
anonymous stranger          401    401     401     401     401  401  401
nobody                      403    404     404     404     404  404  404
puller deleter              403    403     403     404     404  404  404
pusher creator owner ci     403    ok      ok      404     404  404  404
robot                       403    403     403     404     404  404  404
neighbour                   403    404     404     404     ok   404  404
root                        ok     ok      ok      ok      ok   ok   ok
disabled expired gone       401    401     401     401     401  401  401
stale                       403    401     ok      404     404  404  404
elsewhere                   403    401     401     404     404  404  404
"""

# A tag that points to something else; in what is missing the same request creates it.
MOVE_TAG = """
PUT manifest moving         201 -
PUT manifest query moving   201 -
PUT manifest query mixed    201 -
--------------------------- public private missing outside evil bare deep
anonymous stranger          401    401     401     401     401  401  401
nobody                      403    404     404     404     404  404  404
puller deleter              403    403     403     404     404  404  404
pusher owner ci             403    ok      ok      404     404  404  404
creator                     403    403     ok      404     404  404  404
robot                       403    403     403     404     404  404  404
neighbour                   403    404     404     404     ok   404  404
root                        ok     ok      ok      ok      ok   ok   ok
disabled expired gone       401    401     401     401     401  401  401
stale                       403    401     ok      404     404  404  404
elsewhere                   403    401     401     404     404  404  404
"""

MOVE_CI_TAG = """
PUT manifest moving ci      201 -
--------------------------- public private missing outside evil bare deep
anonymous stranger          401    401     401     401     401  401  401
nobody                      403    404     404     404     404  404  404
puller deleter              403    403     403     404     404  404  404
pusher owner robot ci       403    ok      ok      404     404  404  404
creator                     403    403     ok      404     404  404  404
neighbour                   403    404     404     404     ok   404  404
root                        ok     ok      ok      ok      ok   ok   ok
disabled expired gone       401    401     401     401     401  401  401
stale                       403    401     ok      404     404  404  404
elsewhere                   403    401     401     404     404  404  404
"""

# A retry of a push changes nothing, so whoever may create the tag may repeat it. Who may not set the tag hears so
# whether it is there or not, or a push would tell what a tag points to.
SAME_AGAIN = """
PUT manifest same again     201 -
--------------------------- public private missing outside evil bare deep
anonymous stranger          401    401     401     401     401  401  401
nobody                      403    404     404     404     404  404  404
puller deleter              403    403     403     404     404  404  404
pusher creator owner ci     403    ok      ok      404     404  404  404
robot                       403    403     403     404     404  404  404
neighbour                   403    404     404     404     ok   404  404
root                        ok     ok      ok      ok      ok   ok   ok
disabled expired gone       401    401     401     401     401  401  401
stale                       403    401     ok      404     404  404  404
elsewhere                   403    401     401     404     404  404  404
"""

DELETE = """
DELETE manifest by tag      202 MANIFEST_UNKNOWN
DELETE manifest by digest   202 MANIFEST_UNKNOWN
DELETE blob                 202 BLOB_UNKNOWN
--------------------------- public private missing outside evil bare deep
anonymous stranger          401    401     401     401     401  401  401
nobody                      403    404     404     404     404  404  404
deleter owner               403    ok      none    404     404  404  404
puller pusher creator       403    403     403     404     404  404  404
robot ci                    403    403     403     404     404  404  404
neighbour                   403    404     404     404     ok   404  404
root                        ok     ok      none    none    ok   ok   ok
disabled expired gone       401    401     401     401     401  401  401
stale                       403    401     none    404     404  404  404
elsewhere                   403    401     401     404     404  404  404
"""

# What no endpoint knows says nothing about any name, so nobody is asked who he is.
UNKNOWN_METHODS = """
OPTIONS manifest            - -
OPTIONS blob                - -
OPTIONS uploads             - -
OPTIONS session             - -
POST manifest               - -
PUT blob                    - -
DELETE tags                 - -
GET uploads                 - -
POST session                - -
PROPFIND manifest           - -
--------------------------- public private missing outside evil bare deep
anonymous stranger nobody   405    405     405     405     405  405  405
puller pusher creator       405    405     405     405     405  405  405
deleter owner neighbour     405    405     405     405     405  405  405
root robot ci               405    405     405     405     405  405  405
disabled expired gone       405    405     405     405     405  405  405
stale elsewhere             405    405     405     405     405  405  405
"""

BLOCKS = (
    READ, REFER, PUSH, OTHERS_SESSIONS, MOUNT_PRIVATE, MOUNT_VAULT, MOUNT_MISSING, NEW_TAG, MOVE_TAG, MOVE_CI_TAG,
    SAME_AGAIN, DELETE, UNKNOWN_METHODS,
)  # fmt: skip

# What is about no repository. `elsewhere` has a token without registry:catalog:*.
REGISTRY = """
                            root  catalog  token  health  options
anonymous                   401   200      200    200     405
stranger                    200   200      401    200     405
nobody puller pusher        200   200      200    200     405
creator deleter owner       200   200      200    200     405
neighbour root robot ci     200   200      200    200     405
disabled gone               401   401      401    200     405
expired                     401   401      401    200     405
stale                       200   200      401    200     405
elsewhere                   200   401      401    200     405
"""

# What the catalog shows: what the caller may pull, and nothing else.
CATALOG = """
anonymous stranger nobody   public/app
pusher creator              public/app
puller deleter owner        public/app acme/app-held0
robot ci stale              public/app acme/app-held0
neighbour                   public/app acme-evil/app
root                        public/app acme/app-held0 acme-evil/app acme acme/app/deep vault/box
"""
