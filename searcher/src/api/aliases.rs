//! Aliases: what clients send and see.

use cairn_model::{CollectionName, limits::ALIAS_ACTIONS_MAX};
use serde::{Deserialize, Serialize};

use crate::{
    aliases::AliasAction,
    error::{Error, Result},
};

/// Body of `POST collections/aliases`.
#[derive(Debug, Deserialize)]
pub struct ChangeAliases {
    /// Carried out in this order, all or none.
    pub actions: Vec<ActionInput>,
}

/// One action: exactly one of the fields.
#[derive(Debug, Deserialize)]
pub struct ActionInput {
    create_alias: Option<CreateAlias>,
    delete_alias: Option<DeleteAlias>,
    rename_alias: Option<RenameAlias>,
}

#[derive(Debug, Deserialize)]
struct CreateAlias {
    collection_name: String,
    alias_name: String,
}

#[derive(Debug, Deserialize)]
struct DeleteAlias {
    alias_name: String,
}

#[derive(Debug, Deserialize)]
struct RenameAlias {
    old_alias_name: String,
    new_alias_name: String,
}

/// An alias as it is shown.
#[derive(Debug, Serialize)]
pub struct AliasBody {
    alias_name: CollectionName,
    collection_name: CollectionName,
}

impl From<(CollectionName, CollectionName)> for AliasBody {
    fn from((alias_name, collection_name): (CollectionName, CollectionName)) -> Self {
        Self { alias_name, collection_name }
    }
}

/// Result of `aliases`.
#[derive(Debug, Serialize)]
pub struct AliasesResult {
    /// By name.
    pub aliases: Vec<AliasBody>,
}

impl ChangeAliases {
    /// Checks and converts.
    ///
    /// # Errors
    /// Names the action at fault; or there are too many.
    pub fn check(self) -> Result<Vec<AliasAction>> {
        let count = self.actions.len();
        if count > ALIAS_ACTIONS_MAX {
            let why = format!("{count} actions are given, at most {ALIAS_ACTIONS_MAX} are allowed");
            return Err(Error::body("actions", why));
        }
        self.actions.into_iter().enumerate().map(|(at, action)| action.check(at)).collect()
    }
}

impl ActionInput {
    fn check(self, at: usize) -> Result<AliasAction> {
        let name = |field: &str, text: String| {
            CollectionName::parse(text)
                .map_err(|error| Error::body(format!("actions[{at}].{field}"), error.to_string()))
        };
        match (self.create_alias, self.delete_alias, self.rename_alias) {
            (Some(create), None, None) => Ok(AliasAction::Create {
                alias: name("create_alias.alias_name", create.alias_name)?,
                collection: name("create_alias.collection_name", create.collection_name)?,
            }),
            (None, Some(delete), None) => {
                Ok(AliasAction::Delete { alias: name("delete_alias.alias_name", delete.alias_name)? })
            }
            (None, None, Some(rename)) => Ok(AliasAction::Rename {
                old: name("rename_alias.old_alias_name", rename.old_alias_name)?,
                new: name("rename_alias.new_alias_name", rename.new_alias_name)?,
            }),
            _ => Err(Error::Format(format!(
                "actions[{at}]: expected exactly one of `create_alias`, `delete_alias` or `rename_alias`"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::parse;

    fn actions(json: &str) -> std::result::Result<Vec<AliasAction>, String> {
        parse::<ChangeAliases>(json.as_bytes()).and_then(ChangeAliases::check).map_err(|error| error.to_string())
    }

    #[test]
    fn actions_are_read_in_their_order() {
        let json = r#"{"actions": [{"delete_alias": {"alias_name": "a"}},
            {"create_alias": {"collection_name": "c", "alias_name": "a"}},
            {"rename_alias": {"old_alias_name": "a", "new_alias_name": "b"}}]}"#;
        let name = |text: &str| CollectionName::parse(text).unwrap();
        let wanted = vec![
            AliasAction::Delete { alias: name("a") },
            AliasAction::Create { alias: name("a"), collection: name("c") },
            AliasAction::Rename { old: name("a"), new: name("b") },
        ];
        assert_eq!(actions(json), Ok(wanted));
    }

    #[test]
    fn mistakes_are_named() {
        let two =
            r#"{"delete_alias": {"alias_name": "a"}, "create_alias": {"collection_name": "c", "alias_name": "a"}}"#;
        for action in ["{}", r#"{"drop_alias": {}}"#, two] {
            let error = actions(&format!(r#"{{"actions": [{action}]}}"#)).unwrap_err();
            assert!(error.starts_with("Format error in JSON body: actions[0]: expected exactly one of"), "{error}");
        }
        let json = r#"{"actions": [{"delete_alias": {"alias_name": "a"}}, {"delete_alias": {"alias_name": "a/b"}}]}"#;
        let message = "Validation error in JSON body: [actions[1].delete_alias.alias_name: \
            collection name cannot contain \"/\" char]";
        assert_eq!(actions(json), Err(message.to_owned()));
        let many = vec![r#"{"delete_alias": {"alias_name": "a"}}"#; ALIAS_ACTIONS_MAX + 1].join(",");
        assert!(actions(&format!(r#"{{"actions": [{many}]}}"#)).unwrap_err().contains("at most 1000 are allowed"));
    }
}
